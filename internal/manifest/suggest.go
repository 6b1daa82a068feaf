package manifest

import "strings"

// nearest returns the known word that s probably means: the same in another
// case, or at most two edits away; empty: none.
func nearest(s string, known []string) string {
	const most = 2
	if len(s) > 64 {
		return ""
	}
	best, at := "", most+1
	for _, k := range known {
		if strings.EqualFold(s, k) {
			return k
		}
		// A word of two letters is two edits from every other one.
		if d := distance(s, k); d < at && d < len(k) && d < len(s) {
			best, at = k, d
		}
	}
	return best
}

// distance is Levenshtein's: insertions, deletions and substitutions.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// didYouMean is the hint for a word that is not known.
func didYouMean(s string, known []string) string {
	list := "known: " + strings.Join(known, ", ")
	if near := nearest(s, known); near != "" {
		return "did you mean " + near + "? " + list
	}
	return list
}
