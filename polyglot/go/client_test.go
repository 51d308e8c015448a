package chatpb_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	chatpb "github.com/chatpb/chatpb-go"
	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// A relay answers by the model of the request.
type relay struct {
	chatpbv1.UnimplementedChatCompletionServiceServer
}

func refusal() error {
	answer := &chatpbv1.ErrorResponse{Error: &chatpbv1.Error{Message: proto.String("too many")}}
	found, err := status.New(codes.ResourceExhausted, "limit").WithDetails(answer,
		&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)},
		&errdetails.RequestInfo{RequestId: "r1"})
	if err != nil {
		return err
	}
	return found.Err()
}

func (relay) CreateChatCompletion(
	ctx context.Context, call *chatpbv1.CreateChatCompletionRequest,
) (*chatpbv1.CreateChatCompletionResponse, error) {
	switch call.GetRequest().GetModel() {
	case "refuse":
		return nil, errors.Join(grpc.SetTrailer(ctx, metadata.Pairs("x-left", "7")), refusal())
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &chatpbv1.CreateChatCompletionResponse{Completion: &chatpbv1.ChatCompletion{Id: "a"}}, nil
}

func chunkOf(id, content string) *chatpbv1.ChatCompletionChunk {
	delta := &chatpbv1.ChoiceDelta{Content: proto.String(content)}
	return &chatpbv1.ChatCompletionChunk{Id: id, Choices: []*chatpbv1.ChunkChoice{{Delta: delta}}}
}

func (relay) StreamChatCompletion(
	call *chatpbv1.StreamChatCompletionRequest, stream chatpbv1.ChatCompletionService_StreamChatCompletionServer,
) error {
	if !call.GetCompact() {
		return status.Error(codes.InvalidArgument, "not compact")
	}
	chunks := func(list ...*chatpbv1.ChatCompletionChunk) []*chatpbv1.ChatCompletionChunk { return list }
	first := &chatpbv1.StreamChatCompletionResponse{
		Chunks: chunks(chunkOf("a", "H")), CompactChunks: chunks(chunkOf("", "e"), chunkOf("", "l")),
	}
	if call.GetRequest().GetModel() == "broken" {
		first.Chunks = nil
	}
	if err := stream.Send(first); err != nil {
		return err
	}
	if err := stream.Send(&chatpbv1.StreamChatCompletionResponse{CompactChunks: chunks(chunkOf("", "lo"))}); err != nil {
		return err
	}
	switch call.GetRequest().GetModel() {
	case "refuse":
		return refusal()
	case "slow":
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	stream.SetTrailer(metadata.Pairs("x-left", "7"))
	return nil
}

func connect(t testing.TB) *chatpb.Client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	chatpbv1.RegisterChatCompletionServiceServer(server, relay{})
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	options := append(chatpb.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	connection := must[*grpc.ClientConn](t)(grpc.NewClient("passthrough:///relay", options...))
	t.Cleanup(func() { connection.Close() })
	return chatpb.NewClient(connection)
}

func ask(model string) *chatpbv1.ChatCompletionRequest {
	return &chatpbv1.ChatCompletionRequest{Model: proto.String(model)}
}

func TestClientCreates(t *testing.T) {
	completion := must[*chatpbv1.ChatCompletion](t)(connect(t).Create(context.Background(), ask("m")))
	if completion.GetId() != "a" {
		t.Error(completion)
	}
}

func TestClientStreams(t *testing.T) {
	stream := must[*chatpb.Stream](t)(connect(t).Stream(context.Background(), ask("m")))
	defer stream.Close()
	first := must[*chatpbv1.ChatCompletionChunk](t)(stream.Next())
	if first.GetId() != "a" {
		t.Error(first)
	}
	first.Id = "changed" // it is the caller's
	second := must[*chatpbv1.ChatCompletionChunk](t)(stream.Next())
	if !proto.Equal(chunkOf("a", "e"), second) {
		t.Error(second)
	}
	completion := must[*chatpbv1.ChatCompletion](t)(stream.Fold())
	if completion.GetId() != "a" || completion.GetChoices()[0].GetMessage().GetContent() != "Hello" {
		t.Error(completion)
	}
	if _, err := stream.Next(); err != io.EOF {
		t.Error(err)
	}
	if left := stream.Trailer().Get("x-left"); len(left) != 1 || left[0] != "7" {
		t.Error(left)
	}
}

func callFault(t testing.TB, err error) *chatpb.CallError {
	t.Helper()
	var found *chatpb.CallError
	if !errors.As(err, &found) {
		t.Fatalf("expected a CallError, got %v", err)
	}
	return found
}

func TestClientErrors(t *testing.T) {
	client := connect(t)
	_, err := client.Create(context.Background(), ask("refuse"))
	stream := must[*chatpb.Stream](t)(client.Stream(context.Background(), ask("refuse")))
	defer stream.Close()
	_, folded := stream.Fold()
	for _, err := range []error{err, folded} {
		found := callFault(t, err)
		if found.Code != codes.ResourceExhausted || status.Code(err) != codes.ResourceExhausted ||
			err.Error() != "ResourceExhausted: too many" || found.RetryAfter != 1500*time.Millisecond ||
			found.RequestID != "r1" || found.Response.GetError().GetMessage() != "too many" {
			t.Errorf("%#v", found)
		}
	}
	if again := callFault(t, folded); chatpb.CallErrorOf(folded, nil) != again || chatpb.CallErrorOf(nil, nil) != nil {
		t.Error(again)
	}
}

func TestClientDeadlines(t *testing.T) {
	client := connect(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := client.Create(ctx, ask("slow"))
	if callFault(t, err).Code != codes.DeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestClientCancels(t *testing.T) {
	stream := must[*chatpb.Stream](t)(connect(t).Stream(context.Background(), ask("slow")))
	count := 0
	var failure error
	for _, err := range stream.All() {
		if failure = err; err == nil {
			if count++; count == 4 {
				stream.Close()
			}
		}
	}
	if count != 4 || callFault(t, failure).Code != codes.Canceled || !errors.Is(failure, context.Canceled) {
		t.Error(count, failure)
	}
	if _, err := stream.Fold(); err != failure {
		t.Error(err)
	}
	stream.Close()
}

func TestClientRefusesWhatCannotBeRestored(t *testing.T) {
	stream := must[*chatpb.Stream](t)(connect(t).Stream(context.Background(), ask("broken")))
	defer stream.Close()
	_, err := stream.Next()
	if found := callFault(t, err); found.Code != codes.Internal || fault(t, err).Reason != "a compact chunk has no chunk before it" {
		t.Error(err)
	}
}

// An unendedCall gives one response that cannot be restored. Its trailer may not be read before Recv has
// given an error: gRPC may still be writing it.
type unendedCall struct {
	grpc.ClientStream
	t *testing.T
}

func (c unendedCall) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return c, nil
}
func (unendedCall) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return nil }
func (unendedCall) SendMsg(any) error                                                  { return nil }
func (unendedCall) CloseSend() error                                                   { return nil }
func (unendedCall) RecvMsg(m any) error {
	m.(*chatpbv1.StreamChatCompletionResponse).CompactChunks = []*chatpbv1.ChatCompletionChunk{{}}
	return nil
}
func (c unendedCall) Trailer() metadata.MD {
	c.t.Error("the trailer is read while the call runs")
	return nil
}

func TestTrailerOfACallThatRuns(t *testing.T) {
	stream := must[*chatpb.Stream](t)(chatpb.NewClient(unendedCall{t: t}).Stream(context.Background(), ask("m")))
	defer stream.Close()
	stream.Trailer()
	if _, err := stream.Next(); err == nil {
		t.Error("a compact chunk without one before it was restored")
	}
	stream.Trailer()
}
