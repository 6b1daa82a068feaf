package inference

import (
	"strconv"
	"strings"
)

// field names a wanted value; 0 is none.
type field uint8

// mode says how a wanted value is told.
type mode uint8

const (
	word    mode = iota // scalars whole, cut at maxWord
	pieces              // strings as they come
	keepRaw             // as it stands, whatever it is
)

// node is a place in a JSON text on the way to wanted values. A nil node leads
// to none; its methods may be called.
type node struct {
	field   field
	mode    mode
	members map[string]*node
	items   map[int]*node
	item    *node // of any index
}

// member is the place of a member of an object.
func (n *node) member(name []byte) *node {
	if n == nil {
		return nil
	}
	return n.members[string(name)]
}

// element is the place of an element of an array.
func (n *node) element(i int) *node {
	if n == nil {
		return nil
	}
	if x := n.items[i]; x != nil {
		return x
	}
	return n.item
}

// want adds a wanted value at a dotted path. In it * stands for every element
// of an array and a number for one element (or the member of that name).
func (n *node) want(path string, f field, m mode) *node {
	at := n
	if path != "" {
		for name := range strings.SplitSeq(path, ".") {
			at = at.descend(name)
		}
	}
	at.field, at.mode = f, m
	return n
}

func (n *node) descend(name string) *node {
	if name == "*" {
		if n.item == nil {
			n.item = &node{}
		}
		return n.item
	}
	if n.members == nil {
		n.members = map[string]*node{}
	}
	x := n.members[name]
	if x == nil {
		x = &node{}
		n.members[name] = x
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 {
		if n.items == nil {
			n.items = map[int]*node{}
		}
		n.items[i] = x
	}
	return x
}
