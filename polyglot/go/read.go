package chatpb

import (
	"encoding/base64"
	"math"
	"math/big"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// read puts an object of a document into an empty message.
func (mapped *mapping) read(doc *document, index int, m protoreflect.Message) {
	var space [64]bool
	seen := space[:]
	if len(mapped.fields) > len(seen) {
		seen = make([]bool, len(mapped.fields))
	}
	missing := mapped.expected
	var nulls, empties []int
	var extra []byte
	doc.eachMember(index, func(name, value int) bool {
		f := mapped.fieldNamed(doc, name)
		if f == nil {
			extra = appendMember(extra, doc, name, value)
			return true
		}
		seen[f.place] = true
		if f.stands() {
			missing--
		}
		switch kind := doc.nodes[value].kind; {
		case f.equalsUnset(doc, value):
		case kind == null:
			nulls = append(nulls, int(f.desc.Number()))
		case f.isEmptyOf(kind) && doc.isEmpty(value):
			empties = append(empties, int(f.desc.Number()))
		case f.fit(doc, value, m):
		case f.alternative != nil && (kind == array || kind == object):
			f.alternative.fit(doc, value, m)
		default:
			extra = appendMember(extra, doc, name, value)
		}
		return true
	})
	mapped.clearDerived(m)
	var absent []int
	if missing > 0 {
		for _, f := range mapped.fields {
			if f.stands() && !seen[f.place] {
				absent = append(absent, int(f.desc.Number()))
			}
		}
	}
	if nulls != nil || absent != nil || empties != nil || extra != nil {
		mapped.residue.set(m, nulls, absent, empties, extra)
	}
}

func (mapped *mapping) fieldNamed(doc *document, name int) *field {
	n := &doc.nodes[name]
	if n.escaped {
		return mapped.byName[doc.decode(name)]
	}
	return mapped.byName[string(doc.text[n.start+1:n.end-1])]
}

// clearDerived unsets fields that say what they stand for unset: the UTF-8 of the string beside them.
func (mapped *mapping) clearDerived(m protoreflect.Message) {
	for _, f := range mapped.derived {
		if m.Has(f.desc) && string(m.Get(f.desc).Bytes()) == m.Get(f.utf8Of).String() {
			m.Clear(f.desc)
		}
	}
}

// appendMember adds a member to the text of extra_json, which has no closing bracket yet.
func appendMember(extra []byte, doc *document, name, value int) []byte {
	if extra == nil {
		extra = append(extra, '{')
	} else {
		extra = append(extra, ',')
	}
	extra = append(doc.appendCompact(extra, name), ':')
	return doc.appendCompact(extra, value)
}

func (r *residueFields) set(m protoreflect.Message, nulls, absent, empties []int, extra []byte) {
	residue := m.Mutable(r.holder).Message()
	for _, each := range []struct {
		desc    protoreflect.FieldDescriptor
		numbers []int
	}{{r.nulls, nulls}, {r.absent, absent}, {r.empties, empties}} {
		if len(each.numbers) == 0 {
			continue
		}
		slices.Sort(each.numbers)
		list := residue.Mutable(each.desc).List()
		for _, number := range each.numbers {
			list.Append(protoreflect.ValueOfUint32(uint32(number)))
		}
	}
	if extra != nil {
		residue.Set(r.extra, protoreflect.ValueOfString(string(append(extra, '}'))))
	}
}

// equalsUnset reports whether a value is what the unset field stands for. That of a zero is left to
// fit, and that of derived bytes to clearDerived.
func (f *field) equalsUnset(doc *document, index int) bool {
	if f.unset == nil || f.unset.isZero || doc.nodes[index].kind != f.unset.kind {
		return false
	}
	switch f.unset.kind {
	case text:
		return doc.decode(index) == f.unset.string
	case array, object:
		return doc.isEmpty(index)
	}
	return true
}

// isEmptyOf reports whether an empty value of the kind is an empty value of the field.
func (f *field) isEmptyOf(k kind) bool {
	return f.shape == list && k == array || f.shape == dictionary && k == object
}

// fit sets a field to a value that fits it; otherwise it leaves the field unset and gives false.
func (f *field) fit(doc *document, index int, m protoreflect.Message) bool {
	fits := false
	switch f.shape {
	case list:
		if doc.nodes[index].kind != array || doc.isEmpty(index) {
			return false
		}
		elements := m.Mutable(f.desc).List()
		fits = doc.eachElement(index, func(element int) bool {
			if f.value.message != nil {
				return f.value.fitMessage(doc, element, elements.AppendMutable().Message())
			}
			v, ok := f.value.fitScalar(doc, element)
			if ok {
				elements.Append(v)
			}
			return ok
		})
	case dictionary:
		if doc.nodes[index].kind != object || doc.isEmpty(index) {
			return false
		}
		entries := m.Mutable(f.desc).Map()
		fits = doc.eachMember(index, func(name, value int) bool {
			return f.value.fitEntry(doc, name, value, entries)
		})
	default:
		if f.value.message != nil {
			if !f.value.takes(doc.nodes[index].kind) {
				return false
			}
			fits = f.value.fitMessage(doc, index, m.Mutable(f.desc).Message())
			break
		}
		v, ok := f.value.fitScalar(doc, index)
		if !ok {
			return false
		}
		m.Set(f.desc, v)
		return !f.refusesZero || m.Has(f.desc)
	}
	if !fits {
		m.Clear(f.desc)
	}
	return fits
}

func (v *value) fitEntry(doc *document, name, index int, entries protoreflect.Map) bool {
	key := doc.decode(name)
	if !utf8.ValidString(key) {
		return false
	}
	if v.message != nil {
		return v.fitMessage(doc, index, entries.Mutable(protoreflect.ValueOfString(key).MapKey()).Message())
	}
	entry, ok := v.fitScalar(doc, index)
	if ok {
		entries.Set(protoreflect.ValueOfString(key).MapKey(), entry)
	}
	return ok
}

// takes reports whether a message may stand for a value of the kind.
func (v *value) takes(k kind) bool { return v.form == unionForm || k == object }

func (v *value) fitMessage(doc *document, index int, m protoreflect.Message) bool {
	if !v.takes(doc.nodes[index].kind) {
		return false
	}
	if v.form == objectForm {
		v.message.read(doc, index, m)
		return true
	}
	if v.message.hasList && doc.nodes[index].kind == array && doc.isEmpty(index) {
		return true
	}
	for _, f := range v.message.fields {
		if f.fit(doc, index, m) {
			return true
		}
	}
	return false
}

func (v *value) fitScalar(doc *document, index int) (protoreflect.Value, bool) {
	n := &doc.nodes[index]
	switch v.form {
	case boolForm:
		return protoreflect.ValueOfBool(n.kind == trueWord), n.kind == trueWord || n.kind == falseWord
	case int32Form, int64Form:
		if n.kind == integer {
			return v.fitInteger(doc.text[n.start:n.end])
		}
	case doubleForm:
		number, ok := fitDouble(n.kind, doc.text[n.start:n.end])
		return protoreflect.ValueOfFloat64(number), ok
	case stringForm:
		if n.kind == text {
			s := doc.decode(index)
			return protoreflect.ValueOfString(s), !n.escaped || utf8.ValidString(s)
		}
	case rawForm:
		if n.kind != null {
			return protoreflect.ValueOfString(string(doc.appendCompact(nil, index))), true
		}
	case byteArrayForm:
		if n.kind == array {
			return fitByteArray(doc, index)
		}
	case base64Form:
		if n.kind == text {
			return fitBase64(doc.decode(index))
		}
	case enumForm:
		if n.kind == text {
			number, ok := v.numbers[doc.decode(index)]
			return protoreflect.ValueOfEnum(number), ok
		}
	}
	return protoreflect.Value{}, false
}

func (v *value) fitInteger(spelled []byte) (protoreflect.Value, bool) {
	bits := 64
	if v.form == int32Form {
		bits = 32
	}
	if len(spelled) > 20 || string(spelled) == "-0" {
		return protoreflect.Value{}, false
	}
	number, err := strconv.ParseInt(string(spelled), 10, bits)
	if err != nil {
		return protoreflect.Value{}, false
	}
	if bits == 32 {
		return protoreflect.ValueOfInt32(int32(number)), true
	}
	return protoreflect.ValueOfInt64(number), true
}

// canonicalNaN is the NaN of the binary form. That of math.NaN has another bit set.
const canonicalNaN = 0x7ff8 << 48

func fitDouble(k kind, spelled []byte) (float64, bool) {
	if k != integer && k != real && k != infinite {
		return 0, false
	}
	number, err := strconv.ParseFloat(string(spelled), 64)
	if math.IsNaN(number) {
		number = math.Float64frombits(canonicalNaN)
	}
	if k != integer {
		return number, err == nil
	}
	return number, err == nil && (len(spelled) <= 15 || isExactly(number, spelled))
}

// isExactly reports whether a double is the integer that is spelled. That has no more digits than the
// greatest double.
func isExactly(number float64, spelled []byte) bool {
	exact, ok := new(big.Int).SetString(string(spelled), 10)
	if !ok || math.IsInf(number, 0) {
		return false
	}
	held, _ := new(big.Float).SetFloat64(number).Int(nil)
	return exact.Cmp(held) == 0
}

func fitByteArray(doc *document, index int) (protoreflect.Value, bool) {
	data := []byte{}
	fits := doc.eachElement(index, func(element int) bool {
		n := &doc.nodes[element]
		spelled := doc.text[n.start:n.end]
		if n.kind != integer || len(spelled) > 3 || spelled[0] == '-' {
			return false
		}
		number := 0
		for _, digit := range spelled {
			number = number*10 + int(digit-'0')
		}
		data = append(data, byte(number))
		return number <= 255
	})
	return protoreflect.ValueOfBytes(data), fits
}

func fitBase64(text string) (protoreflect.Value, bool) {
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || base64.StdEncoding.EncodedLen(len(data)) != len(text) { // it skips line breaks
		return protoreflect.Value{}, false
	}
	return protoreflect.ValueOfBytes(data), true
}
