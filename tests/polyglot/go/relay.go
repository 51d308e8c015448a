package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

const (
	// limit is how long a call may take: longer than any takes that is answered.
	limit = 30 * time.Second
	// atOnce is in what time a call that is ended has ended.
	atOnce = 5 * time.Second
)

func checkRelay(address string, r *report) error {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	relay := relay{chatpbv1.NewChatCompletionServiceClient(connection)}
	for _, each := range []struct {
		name  string
		check func(context.Context) error
	}{
		{"unary", relay.unary},
		{"stream", relay.stream},
		{"compact", relay.compact},
		{"cancel", relay.cancel},
		{"deadline", relay.deadline},
		{"error", relay.error},
	} {
		r.run("relay", each.name, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			return each.check(ctx)
		})
	}
	return nil
}

type relay struct {
	client chatpbv1.ChatCompletionServiceClient
}

func (r relay) unary(ctx context.Context) error {
	text, err := r.answer(ctx)
	if err == nil && text == "" {
		err = errors.New("the answer has no text")
	}
	return err
}

func (r relay) stream(ctx context.Context) error {
	_, err := r.streamed(ctx, false)
	return err
}

func (r relay) compact(ctx context.Context) error {
	compact, err := r.streamed(ctx, true)
	if err == nil && compact == 0 {
		err = errors.New("no chunk came compact")
	}
	return err
}

func (r relay) cancel(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request := &chatpbv1.StreamChatCompletionRequest{Request: ping("slow")}
	stream, err := r.client.StreamChatCompletion(ctx, request)
	if err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil {
		return err
	}
	start := time.Now()
	cancel()
	_, err = stream.Recv()
	return expect(codes.Canceled, err, start)
}

func (r relay) deadline(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	request := &chatpbv1.CreateChatCompletionRequest{Request: ping("slow")}
	_, err := r.client.CreateChatCompletion(ctx, request)
	return expect(codes.DeadlineExceeded, err, start)
}

func (r relay) error(ctx context.Context) error {
	request := ping("m")
	request.Temperature = proto.Float64(9)
	start := time.Now()
	_, err := r.client.CreateChatCompletion(ctx, &chatpbv1.CreateChatCompletionRequest{Request: request})
	if fault := expect(codes.InvalidArgument, err, start); fault != nil {
		return fault
	}
	var answer *chatpbv1.ErrorResponse
	var info *errdetails.RequestInfo
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *chatpbv1.ErrorResponse:
			answer = detail
		case *errdetails.RequestInfo:
			info = detail
		}
	}
	switch refusal := answer.GetError(); {
	case refusal.GetMessage() != status.Convert(err).Message():
		return fmt.Errorf("the message is %q", refusal.GetMessage())
	case refusal.GetType() != "invalid_request_error":
		return fmt.Errorf("the type is %q", refusal.GetType())
	case refusal.GetParam() != "temperature":
		return fmt.Errorf("the param is %q", refusal.GetParam())
	case info.GetRequestId() == "":
		return errors.New("no id in a RequestInfo")
	}
	return nil
}

// expect checks how a call ended, and that it ended at once.
func expect(code codes.Code, err error, start time.Time) error {
	if status.Code(err) != code {
		return fmt.Errorf("expected the status %s, got %w", code, err)
	}
	if took := time.Since(start); took > atOnce {
		return fmt.Errorf("the call ended after %s", took)
	}
	return nil
}

// answer gives the text of a whole completion.
func (r relay) answer(ctx context.Context) (string, error) {
	request := &chatpbv1.CreateChatCompletionRequest{Request: ping("m")}
	response, err := r.client.CreateChatCompletion(ctx, request)
	if err != nil {
		return "", err
	}
	choices := response.GetCompletion().GetChoices()
	if len(choices) != 1 {
		return "", fmt.Errorf("expected 1 choice, got %d", len(choices))
	}
	return choices[0].GetMessage().GetContent(), nil
}

// streamed checks that a stream has the text of a whole completion, and counts its compact chunks.
func (r relay) streamed(ctx context.Context, compact bool) (int, error) {
	expected, err := r.answer(ctx)
	if err != nil {
		return 0, err
	}
	request := &chatpbv1.StreamChatCompletionRequest{Request: ping("m"), Compact: compact}
	stream, err := r.client.StreamChatCompletion(ctx, request)
	if err != nil {
		return 0, err
	}
	var text strings.Builder
	count := 0
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		count += len(response.GetCompactChunks())
		for _, chunk := range append(response.GetChunks(), response.GetCompactChunks()...) {
			for _, choice := range chunk.GetChoices() {
				text.WriteString(choice.GetDelta().GetContent())
			}
		}
	}
	if text.String() != expected {
		return 0, fmt.Errorf("expected the text %q, got %q", expected, text.String())
	}
	return count, nil
}

// ping is a request that says "ping".
func ping(model string) *chatpbv1.ChatCompletionRequest {
	text := &chatpbv1.MessageContent{Text: proto.String("ping")}
	return &chatpbv1.ChatCompletionRequest{
		Model: proto.String(model),
		Messages: []*chatpbv1.ChatCompletionMessageParam{
			{Role: chatpbv1.Role_ROLE_USER.Enum(), Content: text},
		},
	}
}
