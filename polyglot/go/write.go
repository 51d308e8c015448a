package chatpb

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const leaveOut = "pass IgnoreUnknownFields to leave it out"

// A writer adds the JSON of messages to a text.
type writer struct {
	options
	out []byte
}

// A note is what a residue says of a field; of several, the greatest counts.
type note uint8

const (
	isAbsent note = iota + 1
	isNull
	isEmpty
	isExtra
	isReplaced // by the value of the field: reading never sets both, so the field was set later
)

func (w *writer) message(mapped *mapping, m protoreflect.Message, depth int) *ConversionError {
	if depth >= maxDepth {
		return refuse(tooDeep)
	}
	if fault := w.refuseUnknown(m); fault != nil {
		return fault
	}
	w.out = append(w.out, '{')
	var notes []note
	var extra *document
	if m.Has(mapped.residue.holder) {
		notes = make([]note, len(mapped.fields))
		residue := m.Get(mapped.residue.holder).Message()
		if fault := w.refuseUnknown(residue); fault != nil {
			return fault
		}
		if fault := w.readNotes(mapped, residue, notes); fault != nil {
			return fault
		}
		var fault *ConversionError
		if extra, fault = w.readExtra(mapped, residue, notes, depth); fault != nil {
			return fault
		}
		if extra != nil {
			defer extra.free()
		}
	}
	for _, f := range mapped.fields {
		said := note(0)
		if notes != nil {
			said = notes[f.place]
		}
		before := len(w.out)
		w.out = append(w.out, f.quoted...)
		written, fault := w.field(f, m, depth+1)
		if !written && fault == nil && f.alternative != nil {
			written, fault = w.field(f.alternative, m, depth+1)
		}
		if fault != nil {
			return fault.below(string(f.desc.Name()))
		}
		if written && said == isExtra {
			notes[f.place] = isReplaced
		}
		if written || said != isExtra && w.unset(f, m, said) {
			w.out = append(w.out, ',')
		} else {
			w.out = w.out[:before]
		}
	}
	if extra != nil {
		extra.eachMember(0, func(name, value int) bool {
			if f := mapped.fieldNamed(extra, name); f != nil && notes[f.place] == isReplaced {
				return true
			}
			w.out = append(extra.appendCompact(w.out, name), ':')
			w.out = append(extra.appendCompact(w.out, value), ',')
			return true
		})
	}
	w.out = closed(w.out, '}')
	return nil
}

func (w *writer) refuseUnknown(m protoreflect.Message) *ConversionError {
	if unknown := m.GetUnknown(); len(unknown) > 0 && !w.ignoreUnknown {
		number, _, _ := protowire.ConsumeTag(unknown)
		name := m.Descriptor().FullName()
		reason := "field %d of %s is not in this version of the schema; " + leaveOut
		return refuse(fmt.Sprintf(reason, number, name))
	}
	return nil
}

// readNotes reads the numbers of a residue.
func (w *writer) readNotes(
	mapped *mapping, residue protoreflect.Message, notes []note,
) *ConversionError {
	for _, each := range []struct {
		desc protoreflect.FieldDescriptor
		note note
	}{{mapped.residue.absent, isAbsent}, {mapped.residue.nulls, isNull}, {mapped.residue.empties, isEmpty}} {
		numbers := residue.Get(each.desc).List()
		for i := range numbers.Len() {
			number := numbers.Get(i).Uint()
			f := mapped.fieldNumbered(number)
			if f == nil {
				if w.ignoreUnknown {
					continue
				}
				reason := "the residue names field %d, which the schema does not know; " + leaveOut
				return refuse(fmt.Sprintf(reason, number))
			}
			if each.note == isEmpty && f.shape == single {
				reason := "%s names %s, which is not a list or a map"
				return refuse(fmt.Sprintf(reason, each.desc.Name(), f.desc.Name()))
			}
			notes[f.place] = max(notes[f.place], each.note)
		}
	}
	return nil
}

func (mapped *mapping) fieldNumbered(number uint64) *field {
	if number > math.MaxInt32 {
		return nil
	}
	fd := mapped.desc.Fields().ByNumber(protoreflect.FieldNumber(number))
	if fd == nil {
		return nil
	}
	if f := mapped.byName[string(fd.Name())]; f != nil && f.desc.Number() == fd.Number() {
		return f
	}
	return nil // the residue itself, or a field that shares the member of another
}

// readExtra reads the members of extra_json, which replace what unset fields of their names stand for.
func (w *writer) readExtra(
	mapped *mapping, residue protoreflect.Message, notes []note, depth int,
) (*document, *ConversionError) {
	stated := residue.Get(mapped.residue.extra).String()
	if stated == "" {
		return nil, nil
	}
	name := mapped.residue.extra.Name()
	extra := newDocument()
	if fault := extra.parse([]byte(stated), depth, w.allowNaN); fault != nil {
		return nil, refuseFree(fmt.Sprintf("%s is not a JSON object", name), fault)
	}
	if kind := extra.nodes[0].kind; kind != object {
		return nil, refuse(fmt.Sprintf("%s is not a JSON object but %s", name, kind))
	}
	extra.eachMember(0, func(name, _ int) bool {
		if f := mapped.fieldNamed(extra, name); f != nil {
			notes[f.place] = isExtra
		}
		return true
	})
	return extra, nil
}

// refuseFree says what is wrong with free JSON. Its depth counts with that of what is around it.
func refuseFree(reason string, fault *ConversionError) *ConversionError {
	if fault.Reason == tooDeep {
		return &ConversionError{fault.Path, fault.Reason, NoOffset}
	}
	return refuse(reason + ": " + fault.Error())
}

// unset writes what the member of an unset field is; it reports whether there is one.
func (w *writer) unset(f *field, m protoreflect.Message, said note) bool {
	switch {
	case said == isEmpty && f.shape == dictionary:
		w.out = append(w.out, "{}"...)
	case said == isEmpty:
		w.out = append(w.out, "[]"...)
	case said == isNull:
		w.out = append(w.out, "null"...)
	case said == isAbsent || !f.stands():
		return false
	case f.utf8Of != nil:
		w.out = appendByteArray(w.out, []byte(m.Get(f.utf8Of).String()))
	default:
		w.out = append(w.out, f.unset.text...)
	}
	return true
}

// field writes the value of a field; it reports whether there is one.
func (w *writer) field(f *field, m protoreflect.Message, depth int) (bool, *ConversionError) {
	if !m.Has(f.desc) {
		return false, nil
	}
	held := m.Get(f.desc)
	switch f.shape {
	case list:
		return w.list(f, held.List(), depth)
	case dictionary:
		return w.dictionary(f, held.Map(), depth)
	}
	return w.value(&f.value, held, depth)
}

func (w *writer) list(f *field, elements protoreflect.List, depth int) (bool, *ConversionError) {
	if depth >= maxDepth {
		return false, refuse(tooDeep)
	}
	w.out = append(w.out, '[')
	for i := range elements.Len() {
		if fault := w.element(&f.value, elements.Get(i), depth+1); fault != nil {
			return false, fault.at(i)
		}
	}
	w.out = closed(w.out, ']')
	return true, nil
}

func (w *writer) dictionary(f *field, entries protoreflect.Map, depth int) (bool, *ConversionError) {
	if depth >= maxDepth {
		return false, refuse(tooDeep)
	}
	keys := make([]string, 0, entries.Len())
	entries.Range(func(key protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, key.String())
		return true
	})
	slices.Sort(keys)
	w.out = append(w.out, '{')
	for _, key := range keys {
		if !utf8.ValidString(key) {
			return false, refuse("a name is not UTF-8")
		}
		w.out = append(appendQuoted(w.out, key), ':')
		entry := entries.Get(protoreflect.ValueOfString(key).MapKey())
		if fault := w.element(&f.value, entry, depth+1); fault != nil {
			return false, fault.below(key)
		}
	}
	w.out = closed(w.out, '}')
	return true, nil
}

// element writes a value of a list or a map, and a comma.
func (w *writer) element(v *value, held protoreflect.Value, depth int) *ConversionError {
	written, fault := w.value(v, held, depth)
	if fault == nil && !written {
		fault = refuse("expected a value, got an unset one")
	}
	w.out = append(w.out, ',')
	return fault
}

// value writes a value; it reports whether there is one.
func (w *writer) value(v *value, held protoreflect.Value, depth int) (bool, *ConversionError) {
	switch v.form {
	case boolForm:
		w.out = strconv.AppendBool(w.out, held.Bool())
	case int32Form, int64Form:
		w.out = strconv.AppendInt(w.out, held.Int(), 10)
	case doubleForm:
		return true, w.double(held.Float())
	case stringForm:
		if s := held.String(); utf8.ValidString(s) {
			w.out = appendQuoted(w.out, s)
		} else {
			return false, refuse("not UTF-8")
		}
	case rawForm:
		return true, w.raw(held.String(), depth)
	case byteArrayForm:
		if depth >= maxDepth {
			return false, refuse(tooDeep)
		}
		w.out = appendByteArray(w.out, held.Bytes())
	case base64Form:
		w.out = append(w.out, '"')
		w.out = base64.StdEncoding.AppendEncode(w.out, held.Bytes())
		w.out = append(w.out, '"')
	case enumForm:
		return w.enum(v, held.Enum())
	case objectForm:
		return true, w.message(v.message, held.Message(), depth)
	case unionForm:
		return w.union(v.message, held.Message(), depth)
	}
	return true, nil
}

func (w *writer) enum(v *value, number protoreflect.EnumNumber) (bool, *ConversionError) {
	if number == 0 {
		return false, nil
	}
	word, ok := v.words[number]
	if !ok && !w.ignoreUnknown {
		reason := "%d is a value that the schema does not know; " + leaveOut
		return false, refuse(fmt.Sprintf(reason, number))
	}
	w.out = append(w.out, word...)
	return ok, nil
}

func (w *writer) union(mapped *mapping, m protoreflect.Message, depth int) (bool, *ConversionError) {
	if fault := w.refuseUnknown(m); fault != nil {
		return false, fault
	}
	written := false
	for _, f := range mapped.fields {
		if written && m.Has(f.desc) {
			return false, refuse(fmt.Sprintf("expected one value, but %s is set in addition to another", f.desc.Name()))
		}
		set, fault := w.field(f, m, depth)
		if fault != nil {
			return false, fault
		}
		written = written || set
	}
	if !written && mapped.hasList {
		w.out = append(w.out, "[]"...)
		return true, nil
	}
	return written, nil
}

func (w *writer) raw(stated string, depth int) *ConversionError {
	doc := newDocument()
	defer doc.free()
	if fault := doc.parse([]byte(stated), depth, w.allowNaN); fault != nil {
		return refuseFree("expected JSON text", fault)
	}
	w.out = doc.appendCompact(w.out, 0)
	return nil
}

// double writes a number with the fewest digits that give it back.
func (w *writer) double(number float64) *ConversionError {
	if math.IsNaN(number) || math.IsInf(number, 0) {
		word := "NaN"
		if number > 0 {
			word = "Infinity"
		} else if number < 0 {
			word = "-Infinity"
		}
		if !w.allowNaN {
			return refuse(notFinite(word))
		}
		w.out = append(w.out, word...)
		return nil
	}
	if size := math.Abs(number); size != 0 && (size < 1e-5 || size >= 1e16) {
		w.out = appendExponent(w.out, number)
		return nil
	}
	w.out = strconv.AppendFloat(w.out, number, 'f', -1, 64)
	if number == math.Trunc(number) {
		w.out = append(w.out, ".0"...)
	}
	return nil
}

// byteTexts are the numbers of bytes, each with a comma.
var byteTexts = func() (texts [256]string) {
	for i := range texts {
		texts[i] = strconv.Itoa(i) + ","
	}
	return texts
}()

// appendExponent writes a number with an exponent: its sign, and no zeros in front.
func appendExponent(out []byte, number float64) []byte {
	digits, exponent, _ := strings.Cut(strconv.FormatFloat(number, 'e', -1, 64), "e")
	out = append(append(out, digits...), 'e', exponent[0])
	return append(out, strings.TrimLeft(exponent[1:], "0")...)
}

func appendByteArray(out, data []byte) []byte {
	out = append(out, '[')
	for _, each := range data {
		out = append(out, byteTexts[each]...)
	}
	return closed(out, ']')
}
