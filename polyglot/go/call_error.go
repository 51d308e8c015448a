package chatpb

import (
	"context"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	chatpbv1 "github.com/chatpb/chatpb-go/chatpb/v1"
)

// A CallError is a call that failed. status.Code and status.FromError take it as gRPC's errors, and
// errors.Is takes it as context.Canceled and context.DeadlineExceeded if it has these codes.
type CallError struct {
	// Code is the gRPC status code.
	Code codes.Code
	// Message says what went wrong: OpenAI's message, or that of the status if there is none.
	Message string
	// Response is OpenAI's error object; nil if the server sent none.
	Response *chatpbv1.ErrorResponse
	// RetryAfter is how long to wait before the next try; 0 if the server did not say.
	RetryAfter time.Duration
	// RequestID is the server's name for the call, for questions to its operators; "" if it sent none.
	RequestID string
	// Trailer is the trailing metadata of the call, such as rate limits.
	Trailer metadata.MD

	status *status.Status
	cause  error
}

// Error gives the code and the message.
func (e *CallError) Error() string { return e.Code.String() + ": " + e.Message }

// GRPCStatus gives the status, with its details.
func (e *CallError) GRPCStatus() *status.Status { return e.status }

// Unwrap gives the error of gRPC or of this package.
func (e *CallError) Unwrap() error { return e.cause }

// Is reports whether the error is also one of package context.
func (e *CallError) Is(target error) bool {
	return target == context.Canceled && e.Code == codes.Canceled ||
		target == context.DeadlineExceeded && e.Code == codes.DeadlineExceeded
}

// CallErrorOf reads the error of a call that was made through a generated client, with the trailing
// metadata of the call if it is at hand; nil if the error is nil. An error that is a *CallError already
// is given as it is. Call it only if err is not nil where its result is returned as an error: a nil
// *CallError in an error is not equal to nil.
func CallErrorOf(err error, trailer metadata.MD) *CallError {
	if err == nil {
		return nil
	}
	var known *CallError
	if errors.As(err, &known) {
		return known
	}
	code := codes.Internal
	var conversion *ConversionError
	if !errors.As(err, &conversion) {
		code = status.Code(err)
	}
	found := status.Convert(err)
	if found.Code() != code {
		found = status.New(code, "the answer cannot be read: "+err.Error())
	}
	e := &CallError{
		Code: code, Message: found.Message(), Trailer: trailer, status: found, cause: err,
	}
	if ids := trailer.Get("x-request-id"); len(ids) > 0 {
		e.RequestID = ids[len(ids)-1]
	}
	for _, detail := range found.Details() {
		switch detail := detail.(type) {
		case *chatpbv1.ErrorResponse:
			e.Response = detail
		case *errdetails.RetryInfo:
			e.RetryAfter = detail.GetRetryDelay().AsDuration()
		case *errdetails.RequestInfo:
			if id := detail.GetRequestId(); id != "" {
				e.RequestID = id
			}
		}
	}
	if message := e.Response.GetError().GetMessage(); message != "" {
		e.Message = message
	}
	return e
}
