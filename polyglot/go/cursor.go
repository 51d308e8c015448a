package chatpb

import (
	"encoding/binary"
	"math/bits"
)

// A cursor reads a JSON text that is UTF-8 from left to right. It declines what is wrong.
type cursor struct {
	text     []byte
	at       int
	depth    int // how many containers it is in
	allowNaN bool
	names    [][]byte // of the objects that it is in, as far as they are compared
}

// peek gives the byte here, or 0 at the end.
func (c *cursor) peek() byte {
	if c.at < len(c.text) {
		return c.text[c.at]
	}
	return 0
}

func (c *cursor) skipSpace() {
	for c.at < len(c.text) {
		switch c.text[c.at] {
		case ' ', '\t', '\n', '\r':
			c.at++
		default:
			return
		}
	}
}

// enter reads an opening bracket, unless that is too deep.
func (c *cursor) enter() bool {
	c.at++
	c.depth++
	return c.depth <= maxDepth
}

// any reports whether a container that was entered has anything in it; if not, it reads the end.
func (c *cursor) any(closing byte) bool {
	c.skipSpace()
	if c.peek() != closing {
		return true
	}
	c.at++
	c.depth--
	return false
}

// more reads a comma or the end of a container.
func (c *cursor) more(closing byte) (more, ok bool) {
	c.skipSpace()
	switch c.peek() {
	case ',':
		c.at++
		return true, true
	case closing:
		c.at++
		c.depth--
		return false, true
	}
	return false, false
}

func (c *cursor) word(word string) bool {
	end := c.at + len(word)
	if end > len(c.text) || string(c.text[c.at:end]) != word {
		return false
	}
	c.at = end
	return true
}

const (
	everyByte = 0x0101010101010101
	highBits  = 0x8080808080808080
)

// unusual gives the highest bit of the first byte of eight that is a quote, a backslash or a control
// character, and perhaps of others behind it; 0 if there is none.
func unusual(word uint64) uint64 {
	quote, backslash := word^'"'*everyByte, word^'\\'*everyByte
	return ((word-' '*everyByte)&^word | (quote-everyByte)&^quote | (backslash-everyByte)&^backslash) & highBits
}

// string reads a string, and gives it with its quotes.
func (c *cursor) string() (quoted []byte, escaped, ok bool) {
	if c.peek() != '"' {
		return nil, false, false
	}
	start, at := c.at, c.at+1
	for {
		// Eight bytes at a time, up to a quote, a backslash or a control character.
		for at+8 <= len(c.text) {
			if found := unusual(binary.LittleEndian.Uint64(c.text[at:])); found != 0 {
				at += bits.TrailingZeros64(found) / 8
				break
			}
			at += 8
		}
		if at >= len(c.text) {
			return nil, false, false
		}
		switch b := c.text[at]; {
		case b == '"':
			c.at = at + 1
			return c.text[start:c.at], escaped, true
		case b == '\\':
			size := escapeSize(c.text[at+1:])
			if size == 0 {
				return nil, false, false
			}
			escaped = true
			at += size
		case b < ' ':
			return nil, false, false
		default:
			at++
		}
	}
}

// A spelling is what a number looks like.
type spelling struct {
	size        int // of its text; 0 if there is none
	mantissa    uint64
	power       int // of ten: the number is the mantissa times this power
	isNegative  bool
	isInteger   bool // it has neither fraction nor exponent
	isTruncated bool // the mantissa or the power is not all of it
}

// number reads as much as is a number.
func (c *cursor) number() spelling {
	n := spelling{isInteger: true}
	text, at := c.text, c.at
	if at < len(text) && text[at] == '-' {
		n.isNegative = true
		at++
	}
	first := at
	for ; at < len(text) && text[at]-'0' <= 9; at++ {
		n.add(text[at])
	}
	if at == first || text[first] == '0' && at > first+1 {
		if at == first {
			return spelling{}
		}
		at, n.mantissa, n.isTruncated = first+1, 0, false // the 0 is all that is a number
	}
	if at+1 < len(text) && text[at] == '.' && text[at+1]-'0' <= 9 {
		n.isInteger = false
		point := at + 1
		for at++; at < len(text) && text[at]-'0' <= 9; at++ {
			n.add(text[at])
		}
		n.power = point - at
	}
	if at < len(text) && text[at]|0x20 == 'e' {
		at = n.exponent(text, at)
	}
	n.size = at - c.at
	c.at = at
	return n
}

// add adds a digit to the mantissa.
func (n *spelling) add(digit byte) {
	if n.mantissa >= 1<<60 {
		n.isTruncated = true
	} else {
		n.mantissa = n.mantissa*10 + uint64(digit-'0')
	}
}

// exponent reads an exponent, if there is a whole one, and gives its end.
func (n *spelling) exponent(text []byte, at int) int {
	end := at + 1
	isNegative := end < len(text) && text[end] == '-'
	if end < len(text) && (text[end] == '-' || text[end] == '+') {
		end++
	}
	first, power := end, 0
	for ; end < len(text) && text[end]-'0' <= 9; end++ {
		if power < 1<<20 {
			power = power*10 + int(text[end]-'0')
		}
	}
	if end == first {
		return at
	}
	if isNegative {
		power = -power
	}
	n.isInteger = false
	n.power += power
	return end
}

// compact writes the value here as compact JSON. It declines objects that have a member twice, or
// names with escapes.
func (c *cursor) compact(out *[]byte) bool {
	switch b := c.peek(); b {
	case '{', '[':
		return c.enter() && c.compactMembers(out, b)
	case '"':
		quoted, escaped, ok := c.string()
		if escaped {
			*out = appendQuoted(*out, unquote(quoted[1:len(quoted)-1]))
		} else {
			*out = append(*out, quoted...)
		}
		return ok
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		start := c.at
		if c.number().size > 0 {
			*out = append(*out, c.text[start:c.at]...)
			return true
		}
	}
	for _, word := range words {
		if (c.allowNaN || word.kind != infinite) && c.word(word.text) {
			*out = append(*out, word.text...)
			return true
		}
	}
	return false
}

// compactMembers writes what is in a container, and its brackets.
func (c *cursor) compactMembers(out *[]byte, opening byte) bool {
	closing := opening + 2 // in ASCII
	*out = append(*out, opening)
	names := len(c.names)
	more := c.any(closing)
	for more {
		c.skipSpace()
		if opening == '{' {
			name, escaped, ok := c.string()
			if c.skipSpace(); !ok || escaped || c.peek() != ':' || !c.isNew(name, names) {
				return false
			}
			c.at++
			c.skipSpace()
			*out = append(append(*out, name...), ':')
		}
		if !c.compact(out) {
			return false
		}
		var ok bool
		if more, ok = c.more(closing); !ok {
			return false
		}
		if more {
			*out = append(*out, ',')
		}
	}
	c.names = c.names[:names]
	*out = append(*out, closing)
	return true
}

// maxNames is how many members an object may have whose names are compared with each other.
const maxNames = 64

// isNew notes the name of a member of an object, whose names begin at a place. It reports whether there
// was none like it.
func (c *cursor) isNew(name []byte, first int) bool {
	if len(c.names)-first >= maxNames {
		return false
	}
	for _, other := range c.names[first:] {
		if string(other) == string(name) {
			return false
		}
	}
	c.names = append(c.names, name)
	return true
}
