package chatpb

import (
	"bytes"
	"fmt"
)

const (
	jsonSpace = " \t\n\r"
	doneEvent = "[DONE]" // the data of the event that ends a stream
)

// An event is one of an event stream. Its lines are joined by line feeds.
type event struct {
	data    []byte
	isError bool // by its name
}

// An eventDecoder cuts the bytes of an event stream, however they arrive, into events. It follows the
// event stream format of the HTML standard, and takes what real servers send in addition: a last
// event without a blank line after it, JSON texts without one between, [DONE] with white space around
// it, and comments that were wrapped as data. Time is linear in the bytes, and no more than one event
// is held. An event is too long if one of its lines, and the data of those before it, are.
type eventDecoder struct {
	max        int
	line       []byte
	data       []byte
	lines      int  // of the data
	hasText    bool // the data has more than white space
	endsObject bool // it ends with "}"
	isError    bool
	afterCR    bool
	started    bool
}

// feed takes the next bytes and gives the events that they complete, and an error if the next event is
// too long.
func (d *eventDecoder) feed(data []byte) ([]event, error) {
	if d.afterCR && len(data) > 0 {
		data = bytes.TrimPrefix(data, []byte("\n"))
		d.afterCR = false
	}
	var events []event
	for len(data) > 0 {
		end := bytes.IndexAny(data, "\r\n")
		if end < 0 {
			d.line = append(d.line, data...)
			break
		}
		line := data[:end]
		if len(d.line) > 0 {
			d.line = append(d.line, line...)
			line = d.line
		}
		if len(d.data)+len(line) > d.max {
			return events, d.tooLong()
		}
		events = d.take(line, events)
		d.line = d.line[:0]
		isCR := data[end] == '\r'
		data = data[end+1:]
		if isCR {
			d.afterCR = len(data) == 0
			data = bytes.TrimPrefix(data, []byte("\n"))
		}
	}
	if len(d.data)+len(d.line) > d.max {
		return events, d.tooLong()
	}
	return events, nil
}

func (d *eventDecoder) tooLong() error {
	return refuse(fmt.Sprintf("an event of the stream is longer than %d bytes", d.max))
}

// close gives the event that the end of the stream completes, if there is one.
func (d *eventDecoder) close() []event {
	events := d.dispatch(d.take(d.line, nil))
	d.line = nil
	return events
}

var (
	eventName = []byte("event")
	dataName  = []byte("data")
)

func (d *eventDecoder) take(line []byte, events []event) []event {
	if !d.started {
		d.started = true
		line = bytes.TrimPrefix(line, byteOrderMark)
	}
	if len(line) == 0 {
		return d.dispatch(events)
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch {
	case bytes.Equal(name, eventName):
		d.isError = string(value) == "error"
	case bytes.Equal(name, dataName):
		text := bytes.Trim(value, jsonSpace)
		if bytes.HasPrefix(text, []byte(":")) && !d.hasText {
			return events // a comment: no JSON text begins with a colon
		}
		// No JSON text goes on with a bracket after "}": a new text begins.
		if d.endsObject && len(text) > 0 && (text[0] == '{' || text[0] == '[') {
			events = d.dispatch(events)
		}
		if len(text) > 0 {
			d.hasText, d.endsObject = true, text[len(text)-1] == '}'
		}
		if d.lines > 0 {
			d.data = append(d.data, '\n')
		}
		d.lines++
		d.data = append(d.data, value...)
	}
	return events
}

func (d *eventDecoder) dispatch(events []event) []event {
	if d.hasText {
		events = append(events, event{d.data, d.isError})
		d.data = nil
	}
	d.data, d.lines = d.data[:0], 0
	d.hasText, d.endsObject, d.isError = false, false, false
	return events
}
