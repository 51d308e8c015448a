package chatpb

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// fit writes the value here as a field.
func (t *transcoder) fit(f *field) outcome {
	switch f.shape {
	case list:
		return t.list(f)
	case dictionary:
		return t.dictionary(f)
	}
	if !f.isImplicit {
		return t.value(&f.value, f.tag, false)
	}
	before := len(t.out)
	fit := t.value(&f.value, f.tag, true)
	if fit == isWritten && f.refusesZero && len(t.out) == before {
		return isMisfit
	}
	return fit
}

func (t *transcoder) list(f *field) outcome {
	if t.peek() != '[' {
		return isMisfit
	}
	if !t.enter() {
		return declined
	}
	if !t.any(']') {
		return isEmptyList
	}
	tag, start := f.tag, 0
	if f.desc.IsPacked() {
		start, tag = t.open(f.tag), nil
	}
	for {
		t.skipSpace()
		if fit := t.value(&f.value, tag, false); fit != isWritten {
			return fit
		}
		more, ok := t.more(']')
		if !ok {
			return declined
		}
		if !more {
			break
		}
	}
	if start > 0 {
		t.close(start)
	}
	return isWritten
}

// An entry is one of a map: its key, and where it is in the output.
type entry struct {
	key        string
	start, end int
}

func (t *transcoder) dictionary(f *field) outcome {
	if t.peek() != '{' {
		return isMisfit
	}
	if !t.enter() {
		return declined
	}
	if !t.any('}') {
		return isEmptyList
	}
	start := len(t.out)
	var entries []entry
	for more := true; more; {
		t.skipSpace()
		name, escaped, ok := t.string()
		if t.skipSpace(); !ok || escaped || t.peek() != ':' {
			return declined
		}
		t.at++
		t.skipSpace()
		key := string(name[1 : len(name)-1])
		e := entry{key: key, start: len(t.out)}
		opened := t.open(f.tag)
		t.out = protowire.AppendTag(t.out, 1, protowire.BytesType)
		t.out = protowire.AppendString(t.out, key)
		if fit := t.value(&f.value, f.entryTag, false); fit != isWritten {
			return fit
		}
		t.close(opened)
		e.end = len(t.out)
		entries = append(entries, e)
		if more, ok = t.more('}'); !ok {
			return declined
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	t.scratch = t.scratch[:0]
	for i, e := range entries {
		if i > 0 && e.key == entries[i-1].key {
			return declined
		}
		t.scratch = append(t.scratch, t.out[e.start:e.end]...)
	}
	copy(t.out[start:], t.scratch)
	return isWritten
}

// value writes the value here, behind a tag. If it is implicit, a zero is left out.
func (t *transcoder) value(v *value, tag []byte, implicit bool) outcome {
	c := t.peek()
	switch v.form {
	case stringForm, base64Form, enumForm:
		if c != '"' {
			return isMisfit
		}
		return t.textValue(v, tag, implicit)
	case doubleForm:
		return t.double(tag, implicit)
	case int32Form, int64Form:
		return t.integer(v, tag, implicit)
	case boolForm:
		isTrue := c == 't'
		if c != 't' && c != 'f' {
			return isMisfit
		}
		if !t.word("true") && !t.word("false") {
			return declined
		}
		if isTrue || !implicit {
			t.out = protowire.AppendVarint(append(t.out, tag...), protowire.EncodeBool(isTrue))
		}
		return isWritten
	case rawForm:
		if c == 'n' {
			return isMisfit
		}
		start := t.open(tag)
		if !t.compact(&t.out) {
			return declined
		}
		t.close(start)
		return isWritten
	case byteArrayForm:
		return t.byteArray(tag, implicit)
	case objectForm:
		if c != '{' {
			return isMisfit
		}
		start := t.open(tag)
		if !t.object(v.message) {
			return declined
		}
		t.close(start)
		return isWritten
	case unionForm:
		start := t.open(tag)
		fit := t.union(v.message)
		if fit == isWritten {
			t.close(start)
		}
		return fit
	}
	return declined
}

func (t *transcoder) union(mapped *mapping) outcome {
	back := t.state()
	if mapped.hasList && t.peek() == '[' {
		if !t.enter() {
			return declined
		}
		if !t.any(']') {
			return isWritten
		}
		t.goBack(back)
	}
	for _, f := range mapped.fields {
		fit := t.fit(f)
		if fit == isWritten || fit == declined {
			return fit
		}
		t.goBack(back)
	}
	return isMisfit
}

func (t *transcoder) textValue(v *value, tag []byte, implicit bool) outcome {
	quoted, escaped, ok := t.string()
	if !ok {
		return declined
	}
	held := quoted[1 : len(quoted)-1]
	if escaped {
		t.scratch = appendUnquoted(t.scratch[:0], held)
		if held = t.scratch; !utf8.Valid(held) {
			return isMisfit
		}
	}
	switch v.form {
	case enumForm:
		number, ok := v.numbers[string(held)]
		if !ok {
			return isMisfit
		}
		t.out = protowire.AppendVarint(append(t.out, tag...), uint64(number))
		return isWritten
	case base64Form:
		data, err := base64.StdEncoding.Strict().DecodeString(string(held))
		if err != nil || base64.StdEncoding.EncodedLen(len(data)) != len(held) {
			return isMisfit
		}
		held = data
	}
	if len(held) > 0 || !implicit {
		t.out = protowire.AppendVarint(append(t.out, tag...), uint64(len(held)))
		t.out = append(t.out, held...)
	}
	return isWritten
}

func (t *transcoder) integer(v *value, tag []byte, implicit bool) outcome {
	n := t.number()
	if n.size == 0 || !n.isInteger || n.isTruncated || n.isNegative && n.mantissa == 0 {
		return isMisfit
	}
	limit := uint64(math.MaxInt64)
	if v.form == int32Form {
		limit = math.MaxInt32
	}
	number := n.mantissa
	if n.isNegative {
		limit, number = limit+1, -number
	}
	if n.mantissa > limit {
		return isMisfit
	}
	if number != 0 || !implicit {
		t.out = protowire.AppendVarint(append(t.out, tag...), number)
	}
	return isWritten
}

// powersOfTen are those that doubles hold exactly.
var powersOfTen = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

func (t *transcoder) double(tag []byte, implicit bool) outcome {
	start := t.at
	n := t.number()
	var number float64
	switch power := n.power; {
	case n.size == 0:
		fitted, ok := t.notFinite()
		if !ok {
			return isMisfit // also what is not a value: it is declined as one of free JSON
		}
		number = fitted
	case !n.isTruncated && n.mantissa < 1<<53 && -22 <= power && power <= 22:
		// Both are exact, so that the one operation rounds as it should.
		if number = float64(n.mantissa); power < 0 {
			number /= powersOfTen[-power]
		} else {
			number *= powersOfTen[power]
		}
		if n.isNegative {
			number = math.Copysign(number, -1)
		}
		if n.isInteger && n.size > 15 && !isExactly(number, t.text[start:t.at]) {
			return isMisfit
		}
	default:
		kind := real
		if n.isInteger {
			kind = integer
		}
		fitted, ok := fitDouble(kind, t.text[start:t.at])
		if !ok {
			return isMisfit
		}
		number = fitted
	}
	if held := math.Float64bits(number); held != 0 || !implicit {
		t.out = protowire.AppendFixed64(append(t.out, tag...), held)
	}
	return isWritten
}

// notFinite reads NaN or an infinity, if they are allowed.
func (t *transcoder) notFinite() (float64, bool) {
	if !t.allowNaN {
		return 0, false
	}
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if t.word(word) {
			number, _ := strconv.ParseFloat(word, 64)
			if math.IsNaN(number) {
				number = math.Float64frombits(canonicalNaN)
			}
			return number, true
		}
	}
	return 0, false
}

func (t *transcoder) byteArray(tag []byte, implicit bool) outcome {
	if t.peek() != '[' {
		return isMisfit
	}
	if !t.enter() {
		return declined
	}
	before := len(t.out)
	start := t.open(tag)
	for more := t.any(']'); more; {
		t.skipSpace()
		n := t.number()
		if n.size == 0 || !n.isInteger || n.isNegative || n.isTruncated || n.mantissa > 255 {
			return isMisfit
		}
		t.out = append(t.out, byte(n.mantissa))
		var ok bool
		if more, ok = t.more(']'); !ok {
			return declined
		}
	}
	if implicit && len(t.out) == start {
		t.out = t.out[:before]
		return isWritten
	}
	t.close(start)
	return isWritten
}
