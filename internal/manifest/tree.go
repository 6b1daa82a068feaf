package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// document is one document of a file, with the places of its fields.
type document struct {
	file     string
	lines    []string
	root     *yaml.Node
	keys     map[string]place // of a field's key
	values   map[string]place // of a field's value
	suspect  map[string]bool  // fields that were reported by the walk
	problems Errors
	nodes    int
	ended    bool // a limit was passed and reported
}

type place struct{ line, column int }

// readDocuments splits a file into its documents. Nothing is expanded yet, so
// that an alias bomb costs nothing here.
func readDocuments(file string, data []byte) ([]*document, error) {
	if len(data) > MaxSize {
		return nil, Errors{{File: file, Message: fmt.Sprintf("the manifest has %d bytes; at most %d are read", len(data), MaxSize)}}
	}
	if !utf8.Valid(data) {
		return nil, Errors{{File: file, Message: "the manifest is not UTF-8 text"}}
	}
	if p := nestedTooDeep(data); p != nil {
		p.File = file
		return nil, Errors{*p}
	}
	if marks := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte(",")) + bytes.Count(data, []byte(": ")); marks > maxMarks {
		return nil, Errors{{File: file, Message: fmt.Sprintf("the manifest has %d lines and items; at most %d are read", marks, maxMarks)}}
	}
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(trimmed) {
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" ")) // JSON may be indented by tabs, YAML not
	}
	lines := strings.Split(string(data), "\n")
	var docs []*document
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, Errors{syntaxProblem(file, lines, err)}
		}
		if len(n.Content) == 0 || isNull(n.Content[0]) {
			continue
		}
		if len(docs) == maxDocuments {
			return nil, Errors{{File: file, Line: n.Line, Column: 1, Message: fmt.Sprintf("more than %d documents in one file", maxDocuments)}}
		}
		docs = append(docs, &document{file: file, lines: lines, root: n.Content[0],
			keys: map[string]place{}, values: map[string]place{}, suspect: map[string]bool{}})
	}
	if len(docs) == 0 {
		return nil, Errors{{File: file, Message: "the manifest is empty; expected a Release", Hint: "a Release begins with: apiVersion: " + apiVersion}}
	}
	return docs, nil
}

// nestedTooDeep finds what would keep the YAML parser busy for long: thousands
// of brackets or of nested list marks, which no release needs.
func nestedTooDeep(data []byte) *Problem {
	const most = 400
	depth, line := 0, 1
	for rest := data; len(rest) > 0; line++ {
		var current []byte
		current, rest, _ = bytes.Cut(rest, []byte("\n"))
		marks := 0
		for _, b := range current {
			switch b {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(0, depth-1)
			case '-', '?', ':':
				marks++
			case ' ', '\t':
			default:
				if marks < most {
					marks = 0
				}
			}
			if depth > most || marks > most {
				return &Problem{Line: line, Column: 1, Message: fmt.Sprintf("more than %d levels of nesting", most)}
			}
		}
	}
	return nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxProblem says where the YAML parser gave up.
func syntaxProblem(file string, lines []string, err error) Problem {
	p := Problem{File: file, Message: "not YAML: " + err.Error()}
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return p
	}
	p.Message = "not YAML: " + m[2]
	if n, _ := strconv.Atoi(m[1]); n >= 1 && n <= len(lines) {
		p.Line, p.Source = n, strings.TrimRight(lines[n-1], "\r")
		p.Column = 1 + len(p.Source) - len(strings.TrimLeft(p.Source, " \t"))
		if strings.HasPrefix(strings.TrimLeft(p.Source, " "), "\t") {
			p.Hint = "indent by spaces; YAML does not take tabs"
		}
	}
	return p
}

// release decodes the document and applies the rules. Problems stay in d.
func (d *document) release(opts []Option) (v1alpha1.Release, release.Release) {
	var obj v1alpha1.Release
	if !d.isRelease() {
		return obj, release.Release{}
	}
	raw := d.walk()
	if err := json.Unmarshal(raw, &obj); err != nil {
		if len(d.problems) == 0 {
			d.add("", "the manifest cannot be read: "+err.Error(), "")
		}
		return obj, release.Release{}
	}
	c := newChecker(opts)
	rel := c.release(&obj)
	for _, p := range c.problems {
		if !d.reported(p.Path) {
			d.problems = append(d.problems, p)
		}
	}
	return obj, rel
}

// isRelease checks apiVersion and kind first: nothing else means anything
// where they are wrong.
func (d *document) isRelease() bool {
	if d.root.Kind != yaml.MappingNode {
		d.mark("", d.root, d.root)
		d.add("", "expected a Release, a mapping that begins with apiVersion and kind; this is "+describe(d.root), "")
		return false
	}
	want := map[string]string{"apiVersion": apiVersion, "kind": Kind}
	before := len(d.problems)
	for _, field := range []string{"apiVersion", "kind"} {
		value, found := "", false
		for i := 0; i+1 < len(d.root.Content); i += 2 {
			if d.root.Content[i].Value == field {
				value, found = d.root.Content[i+1].Value, true
				d.mark(field, d.root.Content[i], d.root.Content[i+1])
			}
		}
		switch {
		case !found:
			d.mark("", d.root, d.root)
			d.add(field, "is missing", "write "+field+": "+want[field])
		case value != want[field]:
			d.add(field, fmt.Sprintf("is %s; expected %s", printable(value), want[field]), "")
		}
	}
	return len(d.problems) == before
}

// mark remembers where a field is.
func (d *document) mark(path string, key, value *yaml.Node) {
	d.keys[path] = place{key.Line, key.Column}
	d.values[path] = place{value.Line, value.Column}
	if value.Kind != yaml.ScalarNode {
		d.values[path] = place{key.Line, key.Column}
	}
}

func (d *document) add(path, message, hint string) {
	d.problems = append(d.problems, Problem{Path: path, Message: message, Hint: hint})
}

// reported says whether the walk has complained of this field, of one around
// it or of one inside it.
func (d *document) reported(path string) bool {
	for s := range d.suspect {
		if s == "" || s == path || strings.HasPrefix(path, s+".") || strings.HasPrefix(path, s+"[") {
			return true
		}
	}
	return false
}

// located gives every problem its place: that of its field or, where the field
// is missing, of the nearest one around it.
func (d *document) located() Errors {
	for i := range d.problems {
		p := &d.problems[i]
		p.File = d.file
		if p.Line == 0 {
			at := d.find(p.Path)
			p.Line, p.Column = at.line, at.column
		}
		if p.Source == "" && p.Line >= 1 && p.Line <= len(d.lines) {
			p.Source = strings.TrimRight(d.lines[p.Line-1], "\r")
		}
	}
	return d.problems
}

func (d *document) find(path string) place {
	for {
		if at, ok := d.values[path]; ok {
			return at
		}
		if path == "" {
			return place{d.root.Line, d.root.Column}
		}
		path = parent(path)
	}
}

// parent cuts the last part off a path: a.b[0] -> a.b -> a.
func parent(path string) string {
	if strings.HasSuffix(path, "]") {
		if i := strings.LastIndexByte(path, '['); i >= 0 {
			return path[:i]
		}
	}
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i]
	}
	return ""
}
