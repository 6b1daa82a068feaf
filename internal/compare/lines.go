package compare

import "strings"

// Line is a line of one of two texts; Other: it has no equal in the other one.
type Line struct {
	Text  string
	Other bool
}

// mostLines bounds the texts whose lines are matched.
const mostLines = 400

// Lines matches the lines of two texts by their longest common subsequence.
func Lines(a, b string) (left, right []Line) {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, s := range x {
		left = append(left, Line{s, true})
	}
	for _, s := range y {
		right = append(right, Line{s, true})
	}
	if len(x) > mostLines || len(y) > mostLines {
		return left, right
	}
	longest := make([][]int, len(x)+1)
	for i := range longest {
		longest[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch {
		case x[i] == y[j]:
			left[i].Other, right[j].Other = false, false
			i, j = i+1, j+1
		case longest[i+1][j] >= longest[i][j+1]:
			i++
		default:
			j++
		}
	}
	return left, right
}
