package chatpb

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// An integer is a JSON integer of any size, by its digits.
type integerText string

// noKey is the key of an element that has none.
const noKey integerText = ""

func integerOf(value int) integerText { return integerText(strconv.Itoa(value)) }

// compare is negative if a is less than b, and 0 if they are equal.
func (a integerText) compare(b integerText) int {
	first, isFirstNegative := strings.CutPrefix(string(a), "-")
	second, isSecondNegative := strings.CutPrefix(string(b), "-")
	if isFirstNegative != isSecondNegative {
		if isFirstNegative {
			return -1
		}
		return 1
	}
	order := cmp.Or(cmp.Compare(len(first), len(second)), strings.Compare(first, second))
	if isFirstNegative {
		return -order
	}
	return order
}

func maxInteger(a, b integerText) integerText {
	if a.compare(b) < 0 {
		return b
	}
	return a
}

// An element is one of a folded array.
type element struct {
	joined  any         // what it is so far: an object that others are joined into, or another value
	place   integerText // its key, but not less than those that began before it in its array
	array   int         // the number of the array that it was last found in
	isKeyed bool        // it has a key of its own
}

// elements are those that the arrays of a stream make. In the end they are sorted by their keys. One
// without a key stays behind all that came before it, and those that one array begins stay in its
// order.
type elements struct {
	all                     []*element
	byKey                   map[integerText]*element
	array                   int
	lastPlace, highestPlace integerText // of those that began in this array, and of all
}

// beginArray begins the next array of the stream.
func (e *elements) beginArray() {
	e.array++
	e.lastPlace = "0"
	if e.byKey == nil {
		e.byKey, e.highestPlace = map[integerText]*element{}, "0"
	}
}

// add adds an element that continues none.
func (e *elements) add(joined any, key integerText) *element {
	place := key
	if key == noKey {
		place = e.highestPlace
	}
	place = maxInteger(e.lastPlace, place)
	added := &element{joined, place, e.array, key != noKey}
	e.lastPlace, e.highestPlace = place, maxInteger(place, e.highestPlace)
	if key != noKey {
		e.byKey[key] = added
	}
	e.all = append(e.all, added)
	return added
}

// inOrder gives what all elements are, in their order.
func (e *elements) inOrder() []any {
	sorted := slices.Clone(e.all)
	slices.SortStableFunc(sorted, func(a, b *element) int { return a.place.compare(b.place) })
	values := make([]any, len(sorted))
	for i, each := range sorted {
		values[i] = finish(each.joined)
	}
	return values
}

// keyOf gives the integer in a member, or noKey.
func keyOf(t *tree, name string) integerText {
	value, _ := t.get(name)
	if n, ok := value.(number); ok && n.isInteger() {
		return integerText(n)
	}
	return noKey
}

func textOf(t *tree, name string) string {
	value, _ := t.get(name)
	text, _ := value.(string)
	return text
}

// keyedElements are those of a type of message with a key, such as choices and tool calls.
type keyedElements struct {
	elements
	mapped        *mapping
	key, identity string
	hasIdentity   bool
	byIdentity    map[string]*element
	latest        *element
}

func newKeyedElements(mapped *mapping) *keyedElements {
	e := &keyedElements{mapped: mapped, byIdentity: map[string]*element{}}
	e.key, _ = mapped.marked(func(f *field) bool { return f.isKey })
	e.identity, e.hasIdentity = mapped.marked(func(f *field) bool { return f.isIdentity })
	return e
}

// place gives the object to join an element into, given its position among those of its array.
func (e *keyedElements) place(value *tree, position, count int) *tree {
	key := noKey
	if e.key != "" {
		key = keyOf(value, e.key)
	}
	if !e.hasIdentity {
		if key == noKey {
			key = integerOf(position)
		}
		known := e.byKey[key]
		if known != nil && known.array == e.array {
			known = nil // no chunk has one choice twice
		}
		return e.touch(known, key)
	}
	identity := textOf(value, e.identity)
	if count == 1 {
		position = -1
	}
	known := e.find(value, key, identity, position)
	joined := e.touch(known, key)
	if place := integerOf(len(e.all) - 1); known == nil && key == noKey && e.byKey[place] == nil {
		e.byKey[place] = e.latest
	}
	if identity != "" {
		e.byIdentity[identity] = e.latest
	}
	return joined
}

// find gives the element that another continues; nil if it is new. A negative position does not count.
func (e *keyedElements) find(value *tree, key integerText, identity string, position int) *element {
	switch {
	case key != noKey:
		known := e.byKey[key]
		if known == nil || identity == "" || !e.isNamed(value) {
			return known
		}
		if old, _ := known.joined.(*tree).get(e.identity); isTrue(old) && !isEqual(old, identity) {
			return nil
		}
		return known
	case identity != "":
		return e.byIdentity[identity]
	case e.isNamed(value):
		return nil
	case position < 0:
		return e.latest
	}
	return e.byKey[integerOf(position)]
}

// isNamed reports whether an element has a name that is not empty.
func (e *keyedElements) isNamed(value *tree) bool {
	for _, outer := range e.mapped.fields {
		if outer.message() == nil {
			continue
		}
		held, _ := value.get(string(outer.desc.Name()))
		holder, ok := held.(*tree)
		if !ok {
			continue
		}
		for _, inner := range outer.message().fields {
			if inner.fold == chatpbv1.Fold_FOLD_NAME && textOf(holder, string(inner.desc.Name())) != "" {
				return true
			}
		}
	}
	return false
}

func (e *keyedElements) touch(known *element, key integerText) *tree {
	if known == nil {
		known = e.add(&tree{}, key)
	}
	known.array, e.latest = e.array, known
	return known.joined.(*tree)
}

// unknownElements are those of an array that the schema does not know, such as parts of a content.
type unknownElements struct {
	elements
	rules *unknownRules
}

// place gives the object to join an element into.
func (e *unknownElements) place(value *tree, position int) *tree {
	key := keyOf(value, e.rules.key)
	var known *element
	if key != noKey {
		known = e.byKey[key]
		if known != nil && (known.array == e.array || !e.isSameKind(known.joined.(*tree), value)) {
			known = nil
		}
	} else if len(e.all) > 0 && position == 0 {
		known = e.all[len(e.all)-1]
		if !e.continues(known, value) {
			known = nil
		}
	}
	if known == nil {
		known = e.add(&tree{}, key)
	}
	known.array = e.array
	return known.joined.(*tree)
}

func (e *unknownElements) isSameKind(old, value *tree) bool {
	first, _ := old.get(e.rules.kind)
	second, _ := value.get(e.rules.kind)
	return first == nil || second == nil || isEqual(first, second)
}

// continues reports whether an element only adds pieces to the one before it.
func (e *unknownElements) continues(known *element, value *tree) bool {
	old, ok := known.joined.(*tree)
	kind, _ := value.get(e.rules.kind)
	if _, isText := kind.(string); !ok || known.isKeyed || !isText {
		return false
	}
	oldKind, _ := old.get(e.rules.kind)
	if !isEqual(kind, oldKind) || !e.hasPieces(old) && !e.hasPieces(value) {
		return false
	}
	for _, m := range value.members {
		held, _ := old.get(m.name)
		if !e.rules.pieces[m.name] && !isEmptyValue(m.value) && !isEmptyValue(held) && !isEqual(m.value, held) {
			return false
		}
	}
	return true
}

func (e *unknownElements) hasPieces(value *tree) bool {
	for name := range e.rules.pieces {
		if _, ok := value.get(name); ok {
			return true
		}
	}
	return false
}
