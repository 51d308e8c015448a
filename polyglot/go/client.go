package chatpb

import (
	"context"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// A Client calls a ChatCompletionService, such as chatpb's relay. It may be used concurrently.
//
// The context of a call cancels it and sets its deadline. A call that fails gives a *CallError. For
// other calls, such as those of stored completions, use the generated clients, and CallErrorOf.
type Client struct {
	service chatpbv1.ChatCompletionServiceClient
}

// NewClient gives a client that uses a connection, which its caller makes and closes:
//
//	connection, err := grpc.NewClient("127.0.0.1:50051", append(chatpb.DialOptions(),
//		grpc.WithTransportCredentials(insecure.NewCredentials()))...)
func NewClient(connection grpc.ClientConnInterface) *Client {
	return &Client{chatpbv1.NewChatCompletionServiceClient(connection)}
}

// serviceConfig distributes calls over all addresses, and retries. A relay forbids retries
// (grpc-retry-pushback-ms) if an upstream was asked, so that they do not multiply.
const serviceConfig = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"methodConfig": [{
		"name": [
			{"service": "chatpb.v1.ChatCompletionService"},
			{"service": "chatpb.v1.ModelService"},
			{"service": "chatpb.v1.StoredChatCompletionService"}
		],
		"retryPolicy": {
			"maxAttempts": 3, "initialBackoff": "0.2s", "maxBackoff": "2s", "backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"]
		}
	}],
	"retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}
}`

// DialOptions gives the options of grpc.NewClient that suit a relay: a call that fails before its first
// answer because the relay cannot be reached or is stopping is tried up to three times, with pauses;
// calls are distributed over all addresses of the relay; messages may have 64 MiB; and while a model
// thinks, the connection is pinged every 30 seconds, so that a broken one is noticed. The credentials
// are not among them.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
		grpc.WithMaxHeaderListSize(64 << 10),
		grpc.WithDefaultCallOptions(callOptions(nil)...),
	}
}

// maxMessage is the most bytes of a message: the same as the relay's limit.
const maxMessage = 64 << 20

// callOptions are the options of a call: answers may be longer than the 4 MiB of gRPC's default.
func callOptions(opts []grpc.CallOption) []grpc.CallOption {
	own := []grpc.CallOption{grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)}
	return append(own, opts...)
}

// Create asks for a completion. The error is a *CallError.
func (c *Client) Create(
	ctx context.Context, request *chatpbv1.ChatCompletionRequest, opts ...grpc.CallOption,
) (*chatpbv1.ChatCompletion, error) {
	var trailer metadata.MD
	opts = append(callOptions(opts), grpc.Trailer(&trailer))
	response, err := c.service.CreateChatCompletion(
		ctx, &chatpbv1.CreateChatCompletionRequest{Request: request}, opts...)
	if err != nil {
		return nil, CallErrorOf(err, trailer)
	}
	return response.GetCompletion(), nil
}

// Stream asks for a completion piece by piece. The caller must read the stream to its end or close it:
//
//	stream, err := client.Stream(ctx, request)
//	if err != nil {
//		return err
//	}
//	defer stream.Close()
//	for chunk, err := range stream.All() {
//		...
//	}
//
// The error is a *CallError. Most failures come when the stream is read.
func (c *Client) Stream(
	ctx context.Context, request *chatpbv1.ChatCompletionRequest, opts ...grpc.CallOption,
) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	call, err := c.service.StreamChatCompletion(
		ctx, &chatpbv1.StreamChatCompletionRequest{Request: request, Compact: true}, callOptions(opts)...)
	if err != nil {
		cancel()
		return nil, CallErrorOf(err, nil)
	}
	return &Stream{call: call, cancel: cancel}, nil
}

// A Stream is the chunks of a completion, as they arrive. It is not for concurrent use, except Close.
type Stream struct {
	call     grpc.ServerStreamingClient[chatpbv1.StreamChatCompletionResponse]
	cancel   context.CancelFunc
	restorer Restorer
	received []*chatpbv1.StreamChatCompletionResponse // for Fold: most chunks in them are compact
	given    int                                      // of the chunks of the last response
	trailer  metadata.MD
	end      error
}

// Next gives the next chunk, which the caller may keep and change.
//
// The error is io.EOF after the last one, or a *CallError. Further calls give the same error.
func (s *Stream) Next() (*chatpbv1.ChatCompletionChunk, error) {
	for s.end == nil {
		if last := len(s.received) - 1; last >= 0 && s.given < countChunks(s.received[last]) {
			chunk, err := s.restorer.chunk(s.received[last], s.given)
			if err == nil {
				s.given++
				return chunk, nil
			}
			s.fail(err)
			break
		}
		response, err := s.call.Recv()
		if err != nil {
			s.trailer = s.call.Trailer() // only here: before, the call may still be writing it
			s.fail(err)
			break
		}
		s.received, s.given = append(s.received, response), 0
	}
	return nil, s.end
}

func (s *Stream) fail(err error) {
	if s.end = err; err != io.EOF {
		s.end = CallErrorOf(err, s.trailer)
	}
	s.cancel()
}

// All gives the remaining chunks, and the error of Next, unless that is io.EOF, as the last pair.
func (s *Stream) All() iter.Seq2[*chatpbv1.ChatCompletionChunk, error] { return allOf(s.Next) }

// Fold reads the rest of the stream, and gives the completion that all of its chunks make, those that
// were read before, too. The error is a *CallError, or that of package function Fold.
func (s *Stream) Fold(opts ...Option) (*chatpbv1.ChatCompletion, error) {
	for _, err := range s.All() {
		if err != nil {
			return nil, err
		}
	}
	if s.end != io.EOF {
		return nil, s.end
	}
	folder := NewFolder(opts...)
	var restorer Restorer
	for _, response := range s.received {
		for chunk, err := range restorer.Chunks(response) {
			if err != nil {
				return nil, err
			}
			if err := folder.Add(chunk); err != nil {
				return nil, err
			}
		}
	}
	return folder.Completion()
}

// Close cancels the call, unless it has ended. It may be called again.
func (s *Stream) Close() { s.cancel() }

// Trailer gives the trailing metadata of the call, such as rate limits, once Next has given an error;
// nil before that, and if the call was cancelled because an answer could not be read.
func (s *Stream) Trailer() metadata.MD { return s.trailer }

// allOf gives what a function gives until io.EOF or another error, which comes last.
func allOf[T any](next func() (*T, error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for {
			value, err := next()
			if err == io.EOF || !yield(value, err) || err != nil {
				return
			}
		}
	}
}
