package chatpb

import (
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A string of JSON may have lone surrogates, which UTF-8 has no form for. In this package a Go string
// holds them in the three bytes that they would have in UTF-8, as WTF-8 does: so two strings are
// equal if their code points are, and utf8.ValidString reports whether a field may hold one.

const hexDigits = "0123456789abcdef"

// unquote decodes a valid JSON string, given without its quotes.
func unquote(text []byte) string { return string(appendUnquoted(make([]byte, 0, len(text)), text)) }

func appendUnquoted(out, text []byte) []byte {
	for i := 0; i < len(text); {
		if text[i] != '\\' {
			out = append(out, text[i])
			i++
			continue
		}
		switch c := text[i+1]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(text[i+2:])
			if pair := lowSurrogate(text[i+6:]); pair != 0 && isHigh(r) {
				r = utf16.DecodeRune(r, pair)
				i += 6
			}
			i += 4
			out = appendRune(out, r)
		default:
			out = append(out, c)
		}
		i += 2
	}
	return out
}

func hex4(text []byte) rune {
	value, _ := strconv.ParseUint(string(text[:4]), 16, 16)
	return rune(value)
}

// lowSurrogate is the low surrogate that the text begins with as an escape, or 0.
func lowSurrogate(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	if r := hex4(text[2:]); 0xdc00 <= r && r <= 0xdfff {
		return r
	}
	return 0
}

func isHigh(r rune) bool { return 0xd800 <= r && r <= 0xdbff }

func appendRune(out []byte, r rune) []byte {
	if utf16.IsSurrogate(r) {
		return append(out, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
	}
	return utf8.AppendRune(out, r)
}

// appendQuoted writes a string as compact JSON has it.
func appendQuoted(out []byte, text string) []byte {
	out = append(out, '"')
	start := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c != 0xed {
			continue
		}
		if c == 0xed && !isSurrogate(text[i:]) {
			continue
		}
		out = append(out, text[start:i]...)
		if c == 0xed {
			out = appendSurrogate(out, text[i:])
			i += 2
		} else {
			out = appendEscape(out, c)
		}
		start = i + 1
	}
	out = append(out, text[start:]...)
	return append(out, '"')
}

// appendEscape writes the escape of a quote, a backslash or a control character.
func appendEscape(out []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(out, '\\', c)
	case '\b':
		return append(out, '\\', 'b')
	case '\f':
		return append(out, '\\', 'f')
	case '\n':
		return append(out, '\\', 'n')
	case '\r':
		return append(out, '\\', 'r')
	case '\t':
		return append(out, '\\', 't')
	}
	return append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// isSurrogate reports whether text that begins with the byte 0xed begins with a lone surrogate.
func isSurrogate(text string) bool { return len(text) > 2 && text[1] >= 0xa0 }

func appendSurrogate(out []byte, text string) []byte {
	r := 0xd000 | uint(text[1]&0x3f)<<6 | uint(text[2]&0x3f)
	return fmt.Appendf(out, `\u%04x`, r)
}

// appendEscapedSurrogates writes a string so that it is UTF-8, whatever is in it.
func appendEscapedSurrogates(out []byte, text string) []byte {
	for i := 0; i < len(text); i++ {
		if text[i] == 0xed && isSurrogate(text[i:]) {
			out = appendSurrogate(out, text[i:])
			i += 2
		} else {
			out = append(out, text[i])
		}
	}
	return out
}

// excerpt is the beginning of a text, as an error shows it.
func excerpt(text []byte) string {
	if len(text) == 0 {
		return "the end of the text"
	}
	out := []byte{'\''}
	for count := 0; count < 12 && len(text) > 0; count++ {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == '\'' || r == '\\':
			out = append(out, '\\', byte(r))
		case r != '\n' && r != '\r' && r != '\t' && (r < ' ' || r == 0x7f):
			out = fmt.Appendf(out, `\x%02x`, r)
		case !strconv.IsPrint(r):
			quoted := strconv.QuoteRuneToASCII(r)
			out = append(out, quoted[1:len(quoted)-1]...)
		default:
			out = utf8.AppendRune(out, r)
		}
		text = text[size:]
	}
	return string(append(out, '\''))
}
