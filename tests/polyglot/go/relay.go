package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	chatpb "github.com/chatpb/chatpb-go"
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
	relay := relay{chatpbv1.NewChatCompletionServiceClient(connection), chatpb.NewClient(connection)}
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
	generated chatpbv1.ChatCompletionServiceClient
	client    *chatpb.Client
}

func (r relay) unary(ctx context.Context) error {
	text, err := r.answer(ctx)
	if err == nil && text == "" {
		err = errors.New("the answer has no text")
	}
	return err
}

func (r relay) stream(ctx context.Context) error {
	if _, err := r.streamed(ctx, false); err != nil {
		return err
	}
	expected, err := r.answer(ctx)
	if err != nil {
		return err
	}
	stream, err := r.client.Stream(ctx, ping("m"))
	if err != nil {
		return err
	}
	defer stream.Close()
	completion, err := stream.Fold()
	if err != nil {
		return err
	}
	if text := completion.GetChoices()[0].GetMessage().GetContent(); text != expected {
		return fmt.Errorf("expected the text %q, got %q folded", expected, text)
	}
	return nil
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
	stream, err := r.client.Stream(ctx, ping("slow"))
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err := stream.Next(); err != nil {
		return err
	}
	start := time.Now()
	cancel()
	_, err = stream.Next()
	return expect(codes.Canceled, err, start)
}

func (r relay) deadline(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := r.client.Create(ctx, ping("slow"))
	return expect(codes.DeadlineExceeded, err, start)
}

func (r relay) error(ctx context.Context) error {
	request := ping("m")
	request.Temperature = proto.Float64(9)
	start := time.Now()
	_, err := r.client.Create(ctx, request)
	if fault := expect(codes.InvalidArgument, err, start); fault != nil {
		return fault
	}
	var refused *chatpb.CallError
	if !errors.As(err, &refused) {
		return fmt.Errorf("expected a CallError, got %w", err)
	}
	switch refusal := refused.Response.GetError(); {
	case refusal.GetMessage() != status.Convert(err).Message():
		return fmt.Errorf("the message is %q", refusal.GetMessage())
	case refusal.GetType() != "invalid_request_error":
		return fmt.Errorf("the type is %q", refusal.GetType())
	case refusal.GetParam() != "temperature":
		return fmt.Errorf("the param is %q", refusal.GetParam())
	case refused.RequestID == "":
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
	completion, err := r.client.Create(ctx, ping("m"))
	if err != nil {
		return "", err
	}
	choices := completion.GetChoices()
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
	stream, err := r.generated.StreamChatCompletion(ctx, request)
	if err != nil {
		return 0, err
	}
	var text strings.Builder
	var restorer chatpb.Restorer
	count := 0
	id := ""
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		count += len(response.GetCompactChunks())
		for chunk, err := range restorer.Chunks(response) {
			if err != nil {
				return 0, err
			}
			if id = cmp.Or(id, chunk.GetId()); id == "" || chunk.GetId() != id {
				return 0, fmt.Errorf("a chunk has the id %q, not %q", chunk.GetId(), id)
			}
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
