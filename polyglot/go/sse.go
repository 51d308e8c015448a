package chatpb

import (
	"bytes"
	"io"
	"iter"

	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// defaultMaxEvent is the most bytes that an event may have by default.
const defaultMaxEvent = 64 << 20

// MaxEventBytes sets the most bytes that one event of an event stream may have: a line of it, and the
// data of the lines before. The default is 64 MiB, also for a count that is not positive.
func MaxEventBytes(count int) Option { return func(o *options) { o.maxEvent = count } }

// A ChunkDecoder turns the bytes of an event stream, however they arrive, into chunks. To read from an
// io.Reader, use a ChunkReader.
//
// It follows the event stream format of the HTML standard, and accepts what real servers send in
// addition, such as a last event without a blank line after it. An event named "error", or whose data
// is an error wherever servers put one, is not a chunk: see Error. A chunk that has an error next to
// its choices is given, and its error is kept too, as is that of a choice. Chunks that follow are
// still given.
type ChunkDecoder struct {
	options   options
	events    eventDecoder
	failure   error
	response  *chatpbv1.ErrorResponse
	isChoice  bool
	isInChunk bool
	isDone    bool
}

// NewChunkDecoder gives a decoder for one stream. Of the options, AllowNaN and MaxEventBytes have an
// effect.
func NewChunkDecoder(opts ...Option) *ChunkDecoder {
	o := optionsOf(opts)
	if o.maxEvent <= 0 {
		o.maxEvent = defaultMaxEvent
	}
	return &ChunkDecoder{options: o, events: eventDecoder{max: o.maxEvent}}
}

// Feed takes the next bytes and gives the chunks that they complete. It keeps no reference to them.
//
// The error is a *ConversionError if an event is longer than it may be, or if its data is not a JSON
// object. The chunks before that event come with the error; every later call gives the error alone.
func (d *ChunkDecoder) Feed(data []byte) ([]*chatpbv1.ChatCompletionChunk, error) {
	if d.failure != nil {
		return nil, d.failure
	}
	events, failure := d.events.feed(data)
	return d.read(events, failure)
}

// Close gives the chunk that the end of the stream completes, if there is one. The error is that of
// Feed.
func (d *ChunkDecoder) Close() ([]*chatpbv1.ChatCompletionChunk, error) {
	if d.failure != nil {
		return nil, d.failure
	}
	return d.read(d.events.close(), nil)
}

// Error gives the first error event, or else the first error in a chunk; nil without one. An error of
// the stream replaces that of a choice.
func (d *ChunkDecoder) Error() *chatpbv1.ErrorResponse { return d.response }

// IsErrorOfChoice reports whether Error is that of one choice of a chunk, so that others go on.
func (d *ChunkDecoder) IsErrorOfChoice() bool { return d.isChoice }

// IsDone reports whether the event that ends a stream has come. Some servers never send it.
func (d *ChunkDecoder) IsDone() bool { return d.isDone }

func (d *ChunkDecoder) read(events []event, failure error) ([]*chatpbv1.ChatCompletionChunk, error) {
	var chunks []*chatpbv1.ChatCompletionChunk
	for _, each := range events {
		chunk, err := d.readEvent(each)
		if err != nil {
			failure = err
			break
		}
		if chunk != nil {
			chunks = append(chunks, chunk)
		}
	}
	d.failure = failure
	return chunks, failure
}

func (d *ChunkDecoder) readEvent(e event) (*chatpbv1.ChatCompletionChunk, error) {
	if string(bytes.Trim(e.data, jsonSpace)) == doneEvent {
		d.isDone = true
		return nil, nil
	}
	found, err := findError(e.data)
	if err != nil {
		return nil, err
	}
	isAlone := e.isError || found != nil && found.isAlone
	var response *chatpbv1.ErrorResponse
	if (isAlone || found != nil) && (d.response == nil || d.isInChunk) {
		text := e.data
		if found != nil {
			text = found.text
		}
		response = &chatpbv1.ErrorResponse{}
		if err := FromJSON(text, response, AllowNaN()); err != nil {
			return nil, err
		}
	}
	var chunk *chatpbv1.ChatCompletionChunk
	if !isAlone {
		chunk = &chatpbv1.ChatCompletionChunk{}
		if err := fromJSON(e.data, chunk, d.options); err != nil {
			return nil, err
		}
	}
	if response != nil {
		isChoice := found != nil && found.isOfChoice && !isAlone
		if d.response == nil || isAlone || d.isChoice && !isChoice {
			d.response, d.isChoice = response, isChoice
		}
		d.isInChunk = !isAlone
	}
	return chunk, nil
}

// A StreamError is an error that a server sent in an event stream.
type StreamError struct {
	// Response is OpenAI's error object.
	Response *chatpbv1.ErrorResponse
	// IsOfChoice reports whether it is the error of one choice, so that others may be complete.
	IsOfChoice bool
}

// Error gives the message of the error.
func (e *StreamError) Error() string {
	if message := e.Response.GetError().GetMessage(); message != "" {
		return "the stream has an error: " + message
	}
	return "the stream has an error"
}

// A ChunkReader reads the chunks of an event stream, such as the body of an HTTP response of OpenAI's
// API. It is not for concurrent use.
type ChunkReader struct {
	reader  io.Reader
	decoder *ChunkDecoder
	buffer  []byte
	chunks  []*chatpbv1.ChatCompletionChunk // that are not yet given
	end     error
}

// NewChunkReader gives a reader of the chunks in an event stream. It reads ahead. Of the options,
// AllowNaN and MaxEventBytes have an effect.
func NewChunkReader(r io.Reader, opts ...Option) *ChunkReader {
	return &ChunkReader{reader: r, decoder: NewChunkDecoder(opts...)}
}

// Next gives the next chunk.
//
// The error is io.EOF after the last one, or a *StreamError in its place if the server sent an error
// (chunks after it are given first). It is a *ConversionError if an event is not a chunk, or that of
// the io.Reader. Further calls give the same error. If IsDone is false after io.EOF, the stream may have
// ended early.
func (r *ChunkReader) Next() (*chatpbv1.ChatCompletionChunk, error) {
	for len(r.chunks) == 0 {
		if r.end != nil {
			return nil, r.end
		}
		r.fill()
	}
	chunk := r.chunks[0]
	r.chunks[0], r.chunks = nil, r.chunks[1:]
	return chunk, nil
}

func (r *ChunkReader) fill() {
	if r.buffer == nil {
		r.buffer = make([]byte, 32<<10)
	}
	count, err := r.reader.Read(r.buffer)
	r.chunks, r.end = r.decoder.Feed(r.buffer[:count])
	if r.end != nil || err == nil {
		return
	}
	r.end = err
	if err != io.EOF {
		return
	}
	last, failure := r.decoder.Close()
	r.chunks = append(r.chunks, last...)
	if response := r.decoder.Error(); failure != nil {
		r.end = failure
	} else if response != nil {
		r.end = &StreamError{response, r.decoder.IsErrorOfChoice()}
	} else {
		r.end = io.EOF
	}
}

// IsDone reports whether the event that ends a stream has come. Some servers never send it.
func (r *ChunkReader) IsDone() bool { return r.decoder.IsDone() }

// All gives the remaining chunks, and the error of Next, unless that is io.EOF, as the last pair.
func (r *ChunkReader) All() iter.Seq2[*chatpbv1.ChatCompletionChunk, error] { return allOf(r.Next) }
