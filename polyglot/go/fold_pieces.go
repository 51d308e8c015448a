package chatpb

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A textInPieces is the pieces of a string, one after the other.
type textInPieces struct {
	text     joinedText
	isBase64 bool
	pieces   []string // of base64: each is encoded by itself
}

func newText(first string, f *field) *textInPieces {
	t := &textInPieces{isBase64: f != nil && f.value.form == base64Form}
	t.add(first)
	return t
}

func (t *textInPieces) add(piece string) {
	if t.isBase64 {
		t.pieces = append(t.pieces, piece)
	} else {
		t.text.add(piece)
	}
}

func (t *textInPieces) isEmpty() bool {
	return len(t.text) == 0 && strings.Join(t.pieces, "") == ""
}

// finish gives the string.
func (t *textInPieces) finish() string {
	if !t.isBase64 {
		return string(t.text)
	}
	if len(t.pieces) == 1 {
		return t.pieces[0]
	}
	var data []byte
	for _, piece := range t.pieces {
		decoded, err := base64.StdEncoding.DecodeString(piece)
		if err != nil || strings.ContainsAny(piece, "\r\n") {
			var joined joinedText
			for _, piece := range t.pieces {
				joined.add(piece)
			}
			return string(joined)
		}
		data = append(data, decoded...)
	}
	return base64.StdEncoding.EncodeToString(data)
}

// A nameInPieces is a name that comes in pieces, again, or longer than before.
type nameInPieces struct{ text joinedText }

func (n *nameInPieces) add(piece string) {
	if len(piece) >= len(n.text) && begins(piece, string(n.text)) {
		n.text = n.text[:0]
	}
	n.text.add(piece)
}

func (n *nameInPieces) finish() string { return string(n.text) }

// begins reports whether a string begins with another one, by UTF-16 code units.
func begins(text, start string) bool {
	if strings.HasPrefix(text, start) {
		return true
	}
	size := len(start) - 3
	if size < 0 || !strings.HasPrefix(text, start[:size]) || !isHigh(surrogateIn(start[size:])) {
		return false
	}
	r, _ := utf8.DecodeRuneInString(text[size:])
	high, _ := utf16.EncodeRune(r)
	return high == surrogateIn(start[size:])
}

// surrogateIn gives the lone surrogate that a string consists of, or 0.
func surrogateIn(text string) rune {
	if len(text) != 3 || text[0] != 0xed || !isSurrogate(text) {
		return 0
	}
	return 0xd000 | rune(text[1]&0x3f)<<6 | rune(text[2]&0x3f)
}

// A joinedText is a string that pieces are appended to. A surrogate at the end and one at the beginning
// of the next piece become the character that they are.
type joinedText []byte

func (t *joinedText) add(piece string) {
	old := *t
	if size := len(old); size >= 3 && len(piece) >= 3 && old[size-3] == 0xed && piece[0] == 0xed {
		pair := utf16.DecodeRune(surrogateIn(string(old[size-3:])), surrogateIn(piece[:3]))
		if pair != utf8.RuneError {
			old, piece = utf8.AppendRune(old[:size-3], pair), piece[3:]
		}
	}
	*t = append(old, piece...)
}
