package chatpb

import (
	"strconv"

	"google.golang.org/protobuf/proto"
)

// A JSON tree consists of nil, bool, number, string, []any and *tree. Chunks are folded as trees.

// A number is the text of a JSON number as it is spelled, or NaN, Infinity or -Infinity.
type number string

// isInteger reports whether the number has neither fraction nor exponent, and is spelled as integers are.
func (n number) isInteger() bool {
	for i := range len(n) {
		if c := n[i]; (c < '0' || c > '9') && (c != '-' || i > 0) {
			return false
		}
	}
	return n != "-0"
}

// isZero reports whether the number is 0 as a double.
func (n number) isZero() bool {
	value, _ := strconv.ParseFloat(string(n), 64)
	return value == 0
}

// A tree is a JSON object that keeps the order of its members.
type tree struct {
	members []treeMember
	places  map[string]int // of the names, if there are many
	// The members that were sent whole next to their pieces. Only while chunks are folded.
	wholes *tree
}

type treeMember struct {
	name  string
	value any
}

// manyMembers is how many members are found faster by a map than one after the other.
const manyMembers = 16

func (t *tree) find(name string) int {
	if t.places != nil {
		if place, ok := t.places[name]; ok {
			return place
		}
		return -1
	}
	for i := range t.members {
		if t.members[i].name == name {
			return i
		}
	}
	return -1
}

// get gives a member, and whether there is one. Of no tree it gives none.
func (t *tree) get(name string) (any, bool) {
	if t != nil {
		if place := t.find(name); place >= 0 {
			return t.members[place].value, true
		}
	}
	return nil, false
}

// set puts a member in the place of the one with its name, or else behind the others.
func (t *tree) set(name string, value any) {
	if place := t.find(name); place >= 0 {
		t.members[place].value = value
		return
	}
	t.members = append(t.members, treeMember{name, value})
	switch count := len(t.members); {
	case t.places != nil:
		t.places[name] = count - 1
	case count > manyMembers:
		t.places = make(map[string]int, 2*count)
		for i := range t.members {
			t.places[t.members[i].name] = i
		}
	}
}

// with gives a copy that has the members of others, too. The values are shared.
func (t *tree) with(others ...*tree) *tree {
	merged := &tree{}
	for _, each := range append([]*tree{t}, others...) {
		for _, m := range each.members {
			merged.set(m.name, m.value)
		}
	}
	return merged
}

// treeOf gives the JSON of a message as a tree.
func treeOf(m proto.Message, o options) (*tree, error) {
	text, err := toJSON(m, o)
	if err != nil {
		return nil, err
	}
	root, err := parseTree(text)
	if err != nil {
		return nil, err
	}
	return root.(*tree), nil
}

// fromTree reads a tree into a message.
func fromTree(t *tree, m proto.Message) error {
	return FromJSON(appendTree(nil, t), m, AllowNaN())
}

// parseTree reads a JSON text, which may have NaN and infinities.
func parseTree(text []byte) (any, error) {
	doc := newDocument()
	defer doc.free()
	if fault := doc.parse(text, 0, true); fault != nil {
		return nil, fault
	}
	return doc.tree(0), nil
}

// tree gives a value of a document as a tree, which shares nothing with it.
func (d *document) tree(index int) any {
	switch n := &d.nodes[index]; n.kind {
	case null:
		return nil
	case falseWord, trueWord:
		return n.kind == trueWord
	case text:
		return d.decode(index)
	case array:
		elements := []any{}
		d.eachElement(index, func(element int) bool {
			elements = append(elements, d.tree(element))
			return true
		})
		return elements
	case object:
		members := &tree{}
		d.eachMember(index, func(name, value int) bool {
			members.set(d.decode(name), d.tree(value))
			return true
		})
		return members
	default:
		return number(d.text[n.start:n.end])
	}
}

// appendTree writes a tree as compact JSON text.
func appendTree(out []byte, value any) []byte {
	switch value := value.(type) {
	case nil:
		return append(out, "null"...)
	case bool:
		return strconv.AppendBool(out, value)
	case number:
		return append(out, value...)
	case string:
		return appendQuoted(out, value)
	case []any:
		out = append(out, '[')
		for _, element := range value {
			out = append(appendTree(out, element), ',')
		}
		return closed(out, ']')
	case *tree:
		out = append(out, '{')
		for _, m := range value.members {
			out = append(appendQuoted(out, m.name), ':')
			out = append(appendTree(out, m.value), ',')
		}
		return closed(out, '}')
	}
	panic("chatpb: not a JSON tree")
}

// isEmptyValue reports whether a value erases nothing: null, "", 0, [] or {}.
func isEmptyValue(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case number:
		return value.isZero()
	case string:
		return value == ""
	case []any:
		return len(value) == 0
	case *tree:
		return len(value.members) == 0
	}
	return false
}

// isTrue reports whether a value is not null, false, "", 0, [] or {}.
func isTrue(value any) bool {
	switch value := value.(type) {
	case bool:
		return value
	case number:
		return value != "0"
	}
	return !isEmptyValue(value)
}

// isEqual reports whether two values are the same; numbers are if they are spelled alike, and objects
// have no order. What is still being folded is equal to nothing.
func isEqual(a, b any) bool {
	switch a := a.(type) {
	case nil, bool, string:
		return a == b
	case number:
		return a == b && a != "NaN"
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !isEqual(a[i], b[i]) {
				return false
			}
		}
		return true
	case *tree:
		b, ok := b.(*tree)
		if !ok || len(a.members) != len(b.members) {
			return false
		}
		for _, m := range a.members {
			if other, ok := b.get(m.name); !ok || !isEqual(m.value, other) {
				return false
			}
		}
		return true
	}
	return false
}
