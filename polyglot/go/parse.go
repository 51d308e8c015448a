package chatpb

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

var byteOrderMark = []byte("\xef\xbb\xbf")

// parse reads a JSON text that stands in so many containers. It looks first whether the text is UTF-8,
// then at its syntax and its depth from left to right.
func (d *document) parse(data []byte, depth int, allowNaN bool) *ConversionError {
	if utf8.Valid(data) {
		return d.scan(data, depth, allowNaN)
	}
	valid := 0
	for {
		r, size := utf8.DecodeRune(data[valid:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		valid += size
	}
	fault := &ConversionError{"$", "not UTF-8", valid}
	if before := d.scan(data[:valid], depth, allowNaN); before != nil {
		fault.Path = before.Path
	}
	return fault
}

func (d *document) scan(data []byte, depth int, allowNaN bool) *ConversionError {
	d.text, d.nodes, d.members = data, d.nodes[:0], nil
	s := scanner{document: d, allowNaN: allowNaN}
	if bytes.HasPrefix(data, byteOrderMark) {
		s.at = len(byteOrderMark)
	}
	if fault := s.value(depth); fault != nil {
		return fault
	}
	if s.skipSpace(); s.at < len(data) {
		return s.fault("expected the end of the text")
	}
	return nil
}

// A scanner reads the values of a text from left to right.
type scanner struct {
	*document
	at       int
	allowNaN bool
}

// fault says what was expected, and what came.
func (s *scanner) fault(expected string) *ConversionError {
	return &ConversionError{"$", expected + ", got " + excerpt(s.text[s.at:]), s.at}
}

func (s *scanner) skipSpace() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// sign is the byte at which the scanner stands, or 0 at the end.
func (s *scanner) sign() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) add(k kind, start int) {
	s.nodes = append(s.nodes, node{kind: k, start: start, end: s.at, next: len(s.nodes) + 1})
}

func (s *scanner) value(depth int) *ConversionError {
	s.skipSpace()
	start := s.at
	switch c := s.sign(); c {
	case '{', '[':
		if depth >= maxDepth {
			return &ConversionError{"$", tooDeep, s.at}
		}
		s.at++
		index := len(s.nodes)
		var fault *ConversionError
		if c == '{' {
			s.add(object, start)
			fault = s.members(index, depth+1)
		} else {
			s.add(array, start)
			fault = s.elements(depth + 1)
		}
		s.nodes[index].end, s.nodes[index].next = s.at, len(s.nodes)
		return fault
	case '"':
		return s.string()
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		if k, ok := s.number(); ok {
			s.add(k, start)
			return nil
		}
	}
	return s.word(start)
}

var words = []struct {
	text string
	kind kind
}{
	{"null", null}, {"false", falseWord}, {"true", trueWord},
	{"NaN", infinite}, {"Infinity", infinite}, {"-Infinity", infinite},
}

func (s *scanner) word(start int) *ConversionError {
	s.at = start
	for _, word := range words {
		if !bytes.HasPrefix(s.text[start:], []byte(word.text)) {
			continue
		}
		if word.kind == infinite && !s.allowNaN {
			return &ConversionError{"$", notFinite(word.text), start}
		}
		s.at += len(word.text)
		s.add(word.kind, start)
		return nil
	}
	return s.fault("expected a value")
}

func notFinite(word string) string {
	return fmt.Sprintf("%s is not JSON; pass AllowNaN to keep it", word)
}

// number reads as much as is a number.
func (s *scanner) number() (kind, bool) {
	if s.sign() == '-' {
		s.at++
	}
	if s.sign() == '0' {
		s.at++
	} else if !s.digits() {
		return null, false
	}
	found, end := integer, s.at
	if s.sign() == '.' {
		s.at++
		if !s.digits() {
			s.at = end
			return found, true
		}
		found, end = real, s.at
	}
	if s.sign()|0x20 == 'e' {
		s.at++
		if c := s.sign(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			s.at = end
			return found, true
		}
		found = real
	}
	return found, true
}

func (s *scanner) digits() bool {
	start := s.at
	for '0' <= s.sign() && s.sign() <= '9' {
		s.at++
	}
	return s.at > start
}

// string reads a string, at whose first quote the scanner stands.
func (s *scanner) string() *ConversionError {
	start, escaped := s.at, false
	s.at++
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			s.add(text, start)
			s.nodes[len(s.nodes)-1].escaped = escaped
			return nil
		case c < ' ':
			return s.fault("expected a control character to be escaped")
		case c == '\\':
			size := escapeSize(s.text[s.at+1:])
			if size == 0 {
				return s.fault("expected an escape sequence")
			}
			escaped = true
			s.at += size
		default:
			s.at++
		}
	}
	return s.fault("expected the end of a string")
}

// escapeSize is the size of the escape that goes on with the text after its backslash; 0 if it is none.
func escapeSize(rest []byte) int {
	if len(rest) == 0 {
		return 0
	}
	switch rest[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(rest) < 5 {
			return 0
		}
		for _, c := range rest[1:5] {
			if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}

func (s *scanner) elements(depth int) *ConversionError {
	if s.skipSpace(); s.sign() == ']' {
		s.at++
		return nil
	}
	for index := 0; ; index++ {
		if fault := s.value(depth); fault != nil {
			return fault.at(index)
		}
		s.skipSpace()
		switch s.sign() {
		case ',':
			s.at++
		case ']':
			s.at++
			return nil
		default:
			return s.fault("expected ',' or ']'")
		}
	}
}

func (s *scanner) members(object, depth int) *ConversionError {
	if s.skipSpace(); s.sign() == '}' {
		s.at++
		return nil
	}
	for count := 1; ; count++ {
		s.skipSpace()
		if s.sign() != '"' {
			return s.fault("expected a member name in double quotes")
		}
		name := len(s.nodes)
		if fault := s.string(); fault != nil {
			return fault
		}
		if s.skipSpace(); s.sign() != ':' {
			return s.fault("expected ':' after a member name")
		}
		s.at++
		if fault := s.value(depth); fault != nil {
			return fault.below(s.decode(name))
		}
		s.skipSpace()
		switch s.sign() {
		case ',':
			s.at++
		case '}':
			s.at++
			s.nodes[object].next = len(s.nodes)
			s.markRepeated(object, count)
			return nil
		default:
			return s.fault("expected ',' or '}'")
		}
	}
}
