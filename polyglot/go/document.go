package chatpb

import (
	"sync"
)

// maxDepth is how deep containers may nest.
const maxDepth = 200

const tooDeep = "nested deeper than 200 levels"

type kind uint8

const (
	null kind = iota
	falseWord
	trueWord
	integer  // a number without fraction and exponent
	real     // any other number
	infinite // NaN, Infinity or -Infinity
	text
	array
	object
)

// String says what a value is, in words.
func (k kind) String() string {
	switch k {
	case null:
		return "null"
	case falseWord, trueWord:
		return "a boolean"
	case text:
		return "a string"
	case array:
		return "an array"
	case object:
		return "an object"
	}
	return "a number"
}

// A node is a value in a text, or a member name.
type node struct {
	kind       kind
	escaped    bool // a string has escapes
	repeated   bool // an object has members of the same name
	start, end int  // where it stands in the text, with its quotes or brackets
	next       int  // the node after it and all that is in it
}

// A document is a JSON text and its values. The nodes stand in the order of the text: after that of an
// array those of its elements, after that of an object a name and a value for each member.
type document struct {
	text  []byte
	nodes []node
	// Of the objects that have members of the same name: those that count, in their order.
	members map[int][]member
}

// A member is the nodes of a name and of a value.
type member struct{ name, value int }

var documents = sync.Pool{New: func() any { return new(document) }}

func newDocument() *document { return documents.Get().(*document) }

// free gives the memory of a document to those that come later, unless it is much.
func (d *document) free() {
	d.text, d.members = nil, nil
	if cap(d.nodes) <= 1<<16 {
		documents.Put(d)
	}
}

// decode gives the string that a node stands for.
func (d *document) decode(index int) string {
	n := &d.nodes[index]
	inner := d.text[n.start+1 : n.end-1]
	if n.escaped {
		return unquote(inner)
	}
	return string(inner)
}

// eachElement calls a function for each element of an array until it gives false.
func (d *document) eachElement(index int, do func(element int) bool) bool {
	end := d.nodes[index].next
	for element := index + 1; element < end; element = d.nodes[element].next {
		if !do(element) {
			return false
		}
	}
	return true
}

// eachMember calls a function for each member of an object until it gives false. Of members with the
// same name it is the last, in the place of the first.
func (d *document) eachMember(index int, do func(name, value int) bool) bool {
	if d.nodes[index].repeated {
		for _, each := range d.members[index] {
			if !do(each.name, each.value) {
				return false
			}
		}
		return true
	}
	end := d.nodes[index].next
	for name := index + 1; name < end; name = d.nodes[name+1].next {
		if !do(name, name+1) {
			return false
		}
	}
	return true
}

// isEmpty reports whether a container holds nothing.
func (d *document) isEmpty(index int) bool { return d.nodes[index].next == index+1 }

// appendCompact writes a value as compact JSON text.
func (d *document) appendCompact(out []byte, index int) []byte {
	switch n := &d.nodes[index]; n.kind {
	case array:
		out = append(out, '[')
		d.eachElement(index, func(element int) bool {
			out = d.appendCompact(out, element)
			out = append(out, ',')
			return true
		})
		return closed(out, ']')
	case object:
		out = append(out, '{')
		d.eachMember(index, func(name, value int) bool {
			out = append(d.appendCompact(out, name), ':')
			out = append(d.appendCompact(out, value), ',')
			return true
		})
		return closed(out, '}')
	case text:
		if n.escaped {
			return appendQuoted(out, d.decode(index))
		}
		fallthrough
	default:
		return append(out, d.text[n.start:n.end]...)
	}
}

// closed puts the closing bracket after members or elements, in the place of the last comma.
func closed(out []byte, closing byte) []byte {
	if out[len(out)-1] == ',' {
		out[len(out)-1] = closing
		return out
	}
	return append(out, closing)
}

// markRepeated looks for members of the same name in an object that has just been read.
func (d *document) markRepeated(index, count int) {
	if count < 2 || count <= 12 && d.areDistinct(index) {
		return
	}
	places := make(map[string]int, count)
	members := make([]member, 0, count)
	d.eachMember(index, func(name, value int) bool {
		key := d.decode(name)
		if place, ok := places[key]; ok {
			members[place].value = value
		} else {
			places[key] = len(members)
			members = append(members, member{name, value})
		}
		return true
	})
	if len(members) < count {
		if d.members == nil {
			d.members = map[int][]member{}
		}
		d.members[index] = members
		d.nodes[index].repeated = true
	}
}

// areDistinct reports whether the names of a small object surely differ.
func (d *document) areDistinct(index int) bool {
	var seen [12][]byte
	count := 0
	return d.eachMember(index, func(name, _ int) bool {
		n := &d.nodes[name]
		if n.escaped {
			return false
		}
		key := d.text[n.start:n.end]
		for _, other := range seen[:count] {
			if string(other) == string(key) {
				return false
			}
		}
		seen[count] = key
		count++
		return true
	})
}
