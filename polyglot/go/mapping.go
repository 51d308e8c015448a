package chatpb

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// A mapping is what the descriptors say of a type of message: how it and a JSON value become each
// other. It is compiled once and never changes.
type mapping struct {
	desc    protoreflect.MessageDescriptor
	fields  []*field // those with a member of their own, in the order of the file
	byName  map[string]*field
	derived []*field       // those that stand for the UTF-8 of a string beside them
	residue *residueFields // nil of a union
	isUnion bool
	hasList bool // of a union: one of its members is repeated
	// How many fields stand for a value while unset, and which.
	expected int
	standing fieldSet
	// Where fields are kept that are looked up by their numbers: those of fields in their places, then
	// those that share a member, then the residue; with the types of their binary forms.
	slots  int
	slotOf []int // by number; -1 for those that the schema does not know
	wires  []protowire.Type
	// How members that the schema does not know are folded.
	unknown unknownRules
	// The member of a chunk that holds a whole completion.
	foldWhole string
}

// residueFields are the fields of a residue, and the one that holds it.
type residueFields struct {
	holder, nulls, absent, empties, extra protoreflect.FieldDescriptor

	tag  []byte
	slot int
}

type shape uint8

const (
	single shape = iota
	list
	dictionary
)

// A field is how a member of an object, or of a union, and a field of a message become each other.
type field struct {
	desc   protoreflect.FieldDescriptor
	place  int // in the mapping
	shape  shape
	value  value // of the field, of an element, or of an entry
	quoted []byte
	unset  *unset                       // nil: an unset field stands for no member
	utf8Of protoreflect.FieldDescriptor // not nil: unset, it stands for the UTF-8 of that field
	// Has the JSON text of an array or an object that does not fit this field; nil if none has.
	alternative *field
	// A zero value cannot be told from an unset field, which stands for another value.
	refusesZero bool
	foldRules

	number     protoreflect.FieldNumber
	tag        []byte // of the binary form
	entryTag   []byte // of the values of a map
	isImplicit bool   // it has a single value without presence
	utf8Place  int    // the place of utf8Of in the mapping
	slot       int    // of the mapping
}

// tagOf gives the tag of a field in the binary form.
func tagOf(fd protoreflect.FieldDescriptor, number protoreflect.FieldNumber) []byte {
	wire := protowire.VarintType
	switch fd.Kind() {
	case protoreflect.DoubleKind:
		wire = protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		wire = protowire.BytesType
	}
	if fd.IsPacked() {
		wire = protowire.BytesType
	}
	return protowire.AppendTag(nil, number, wire)
}

// stands reports whether the field stands for a value while unset.
func (f *field) stands() bool { return f.unset != nil || f.utf8Of != nil }

// An unset is the value that an unset field stands for.
type unset struct {
	kind   kind
	text   []byte // its JSON
	string string // what it says, if it is a string
	isZero bool   // it is the zero value of a scalar without presence
}

type form uint8

const (
	boolForm form = iota
	int32Form
	int64Form
	doubleForm
	stringForm
	rawForm
	byteArrayForm
	base64Form
	enumForm
	objectForm
	unionForm
)

// A value is how a single value becomes JSON and back.
type value struct {
	form    form
	numbers map[string]protoreflect.EnumNumber // of an enum: by its words
	words   map[protoreflect.EnumNumber][]byte
	message *mapping
}

var compiled sync.Map // from protoreflect.MessageDescriptor to *mapping

// mappingOf gives the mapping of a type of message that mirrors a JSON object.
func mappingOf(desc protoreflect.MessageDescriptor) (*mapping, error) {
	found, ok := compiled.Load(desc)
	if !ok {
		c := compiler{}
		mapped, err := c.mapping(desc)
		if err != nil {
			return nil, fmt.Errorf("chatpb: %w", err)
		}
		found, _ = compiled.LoadOrStore(desc, mapped)
	}
	if mapped := found.(*mapping); mapped.isUnion {
		return nil, fmt.Errorf("chatpb: %s mirrors no JSON object", desc.FullName())
	}
	return found.(*mapping), nil
}

// A compiler has the mappings that it made or has begun, since messages may be in themselves.
type compiler map[protoreflect.MessageDescriptor]*mapping

func (c compiler) mapping(desc protoreflect.MessageDescriptor) (*mapping, error) {
	if begun, ok := c[desc]; ok {
		return begun, nil
	}
	isUnion := proto.GetExtension(desc.Options(), chatpbv1.E_JsonUnion).(bool)
	m := &mapping{
		desc: desc, isUnion: isUnion, byName: map[string]*field{}, unknown: unknownRulesOf(desc),
		foldWhole: proto.GetExtension(desc.Options(), chatpbv1.E_FoldWhole).(string),
	}
	c[desc] = m
	if !isUnion {
		if m.residue = residueOf(desc); m.residue == nil {
			return nil, fmt.Errorf("%s mirrors no JSON object", desc.FullName())
		}
	}
	var alternatives []*field
	for i := range desc.Fields().Len() {
		fd := desc.Fields().Get(i)
		if m.residue != nil && fd == m.residue.holder {
			continue
		}
		f, err := c.field(fd)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fd.FullName(), err)
		}
		if proto.HasExtension(fd.Options(), chatpbv1.E_JsonAlternativeTo) {
			alternatives = append(alternatives, f)
			continue
		}
		f.place = len(m.fields)
		m.fields = append(m.fields, f)
		m.byName[string(fd.Name())] = f
		m.hasList = m.hasList || f.shape == list
		if f.utf8Of != nil {
			m.derived = append(m.derived, f)
		}
		if f.stands() {
			m.expected++
			if f.place < maxFields {
				m.standing.add(f.place)
			}
		}
	}
	for _, f := range m.derived {
		f.utf8Place = m.byName[string(f.utf8Of.Name())].place
	}
	for _, f := range alternatives {
		if err := m.share(f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.desc.FullName(), err)
		}
	}
	m.setSlots(alternatives)
	return m, nil
}

// maxSlotNumber is the greatest number of a field that has a slot. Messages with others are not emitted.
const maxSlotNumber = 1 << 12

func (m *mapping) setSlots(alternatives []*field) {
	add := func(number protoreflect.FieldNumber, tag []byte) int {
		_, wire, _ := protowire.ConsumeTag(tag)
		for len(m.slotOf) <= int(min(number, maxSlotNumber)) {
			m.slotOf = append(m.slotOf, -1)
		}
		if number < maxSlotNumber {
			m.slotOf[number] = m.slots
		}
		m.wires = append(m.wires, wire)
		m.slots++
		return m.slots - 1
	}
	for _, f := range append(slices.Clone(m.fields), alternatives...) {
		f.slot = add(f.number, f.tag)
	}
	if m.residue != nil {
		m.residue.slot = add(m.residue.holder.Number(), m.residue.tag)
	}
}

// alternativeTo gives the name of the field whose member a field shares.
func alternativeTo(fd protoreflect.FieldDescriptor) string {
	return proto.GetExtension(fd.Options(), chatpbv1.E_JsonAlternativeTo).(string)
}

// share makes a field an alternative to the one that it names.
func (m *mapping) share(f *field) error {
	named := m.byName[alternativeTo(f.desc)] // not the residue, nor another alternative
	if m.isUnion || named == nil || named.alternative != nil || f.shape != single ||
		f.value.form != rawForm || !f.desc.HasPresence() ||
		proto.HasExtension(f.desc.Options(), chatpbv1.E_JsonUnset) {
		return fmt.Errorf("it cannot share the member of %s", alternativeTo(f.desc))
	}
	named.alternative = f
	return nil
}

var residueName = (&chatpbv1.Residue{}).ProtoReflect().Descriptor().FullName()

// residueOf finds the residue of a type of message; nil if it has none.
func residueOf(desc protoreflect.MessageDescriptor) *residueFields {
	for i := range desc.Fields().Len() {
		holder := desc.Fields().Get(i)
		if holder.Message() == nil || holder.Message().FullName() != residueName {
			continue
		}
		fields := holder.Message().Fields()
		return &residueFields{
			holder:  holder,
			tag:     tagOf(holder, holder.Number()),
			nulls:   fields.ByName("null_fields"),
			absent:  fields.ByName("absent_fields"),
			empties: fields.ByName("empty_fields"),
			extra:   fields.ByName("extra_json"),
		}
	}
	return nil
}

func (c compiler) field(fd protoreflect.FieldDescriptor) (*field, error) {
	f := &field{desc: fd, number: fd.Number(), tag: tagOf(fd, fd.Number()), quoted: append(appendQuoted(nil, string(fd.Name())), ':')}
	valueOf := fd
	if fd.IsMap() {
		f.shape, valueOf = dictionary, fd.MapValue()
		if fd.MapKey().Kind() != protoreflect.StringKind {
			return nil, fmt.Errorf("its keys are no strings")
		}
		f.entryTag = tagOf(fd.MapValue(), 2)
	} else if fd.IsList() {
		f.shape = list
	}
	f.isImplicit = f.shape == single && !fd.HasPresence()
	var err error
	if f.value, err = c.value(valueOf, fd.Options()); err != nil {
		return nil, err
	}
	if name := proto.GetExtension(fd.Options(), chatpbv1.E_JsonUnsetUtf8).(string); name != "" {
		f.utf8Of = fd.ContainingMessage().Fields().ByName(protoreflect.Name(name))
		if f.utf8Of == nil || f.utf8Of.Kind() != protoreflect.StringKind || f.shape != single ||
			f.value.form != byteArrayForm || !fd.HasPresence() {
			return nil, fmt.Errorf("it cannot stand for the UTF-8 of %s", name)
		}
	}
	if f.foldRules, err = foldRulesOf(fd); err != nil {
		return nil, err
	}
	f.unset, err = unsetOf(f)
	f.refusesZero = f.unset != nil && !f.unset.isZero && f.shape == single && !fd.HasPresence()
	return f, err
}

// unsetOf gives the value that an unset field stands for.
func unsetOf(f *field) (*unset, error) {
	if !proto.HasExtension(f.desc.Options(), chatpbv1.E_JsonUnset) {
		if f.shape != single || f.desc.HasPresence() {
			return nil, nil
		}
		zero, ok := zeros[f.value.form]
		if !ok {
			return nil, nil
		}
		return &unset{text: []byte(zero), isZero: true}, nil
	}
	stated := proto.GetExtension(f.desc.Options(), chatpbv1.E_JsonUnset).(string)
	doc := newDocument()
	defer doc.free()
	if err := doc.parse([]byte(stated), 0, false); err != nil {
		return nil, err
	}
	u := &unset{kind: doc.nodes[0].kind, text: doc.appendCompact(nil, 0)}
	switch u.kind {
	case integer, real:
		return nil, fmt.Errorf("an unset field cannot stand for a number")
	case text:
		u.string = doc.decode(0)
	case array, object:
		if !doc.isEmpty(0) {
			return nil, fmt.Errorf("an unset field cannot stand for %s", stated)
		}
	}
	return u, nil
}

// zeros are the zero values of scalars, as JSON. An enum has no word for it.
var zeros = map[form]string{
	boolForm: "false", int32Form: "0", int64Form: "0", doubleForm: "0.0", stringForm: `""`,
}

func (c compiler) value(fd protoreflect.FieldDescriptor, options proto.Message) (value, error) {
	encoding := proto.GetExtension(options, chatpbv1.E_JsonEncoding).(chatpbv1.JsonEncoding)
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return value{form: boolForm}, nil
	case protoreflect.Int32Kind:
		return value{form: int32Form}, nil
	case protoreflect.Int64Kind:
		return value{form: int64Form}, nil
	case protoreflect.DoubleKind:
		return value{form: doubleForm}, nil
	case protoreflect.StringKind:
		if encoding == chatpbv1.JsonEncoding_JSON_ENCODING_RAW {
			return value{form: rawForm}, nil
		}
		return value{form: stringForm}, nil
	case protoreflect.BytesKind:
		switch encoding {
		case chatpbv1.JsonEncoding_JSON_ENCODING_BYTE_ARRAY:
			return value{form: byteArrayForm}, nil
		case chatpbv1.JsonEncoding_JSON_ENCODING_BASE64:
			return value{form: base64Form}, nil
		}
	case protoreflect.EnumKind:
		return enumValue(fd.Enum())
	case protoreflect.MessageKind:
		message, err := c.mapping(fd.Message())
		if err != nil {
			return value{}, err
		}
		if message.isUnion {
			return value{form: unionForm, message: message}, nil
		}
		return value{form: objectForm, message: message}, nil
	}
	return value{}, fmt.Errorf("its type %s has no form in JSON", fd.Kind())
}

func enumValue(enum protoreflect.EnumDescriptor) (value, error) {
	v := value{
		form:    enumForm,
		numbers: map[string]protoreflect.EnumNumber{},
		words:   map[protoreflect.EnumNumber][]byte{},
	}
	zero := enum.Values().ByNumber(0)
	if zero == nil {
		return v, fmt.Errorf("%s has no zero value", enum.FullName())
	}
	prefix := strings.TrimSuffix(string(zero.Name()), "UNSPECIFIED")
	for i := range enum.Values().Len() {
		each := enum.Values().Get(i)
		if each.Number() == 0 {
			continue
		}
		word := strings.ToLower(strings.TrimPrefix(string(each.Name()), prefix))
		v.numbers[word], v.words[each.Number()] = each.Number(), appendQuoted(nil, word)
	}
	return v, nil
}
