package tunnel

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"adit.example/go/registrypb"
)

// call is one call that came down the tunnel. To its method it is a [grpc.ServerStream].
type call struct {
	tunnel   *tunnel
	id       string
	path     string
	context  context.Context // done when the call is over for its caller, or the tunnel is
	cancel   context.CancelFunc
	requests inbox
	header   metadata.MD // goes with the first frame
	trailer  metadata.MD // goes with the last
	answered bool        // the first frame is on its way
	over     chan struct{}
}

func newCall(tunnel *tunnel, request *registrypb.ForwardRequest) *call {
	ctx := metadata.NewIncomingContext(tunnel.stream.Context(), fromFrame(request.Metadata))
	ctx, cancel := context.WithCancel(ctx)
	return &call{
		tunnel: tunnel, id: request.RequestId, path: request.MethodPath, context: ctx, cancel: cancel,
		requests: inbox{changed: make(chan struct{}, 1)}, over: make(chan struct{}),
	}
}

// serve runs the method and sends the end of the answer.
func (c *call) serve(method method) {
	defer c.cancel()
	err := status.Errorf(codes.Unimplemented, "no method %s", c.path)
	if method != nil {
		err = method(c)
	}
	ending := c.ending(err)
	c.respond(&registrypb.ForwardResponse{
		StreamingInfo: &registrypb.StreamingInfo{IsStreamEnd: true},
		StatusCode:    int32(ending.Code()),
		ErrorMessage:  ending.Message(),
		Trailers:      toFrame(c.trailer),
	})
}

// ending is the status that a method's error becomes.
func (c *call) ending(err error) *status.Status {
	if ended, ok := status.FromError(err); ok {
		return ended
	}
	if c.context.Err() != nil {
		return status.FromContextError(c.context.Err())
	}
	log.Printf("failed: method=%s error=%v", c.path, err)
	return status.New(codes.Internal, "the method failed")
}

func (c *call) respond(response *registrypb.ForwardResponse) error {
	response.RequestId = c.id
	if !c.answered {
		c.answered = true
		response.Metadata = toFrame(c.header)
	}
	return c.tunnel.send(&registrypb.ConnectionMessage{
		MessageType: &registrypb.ConnectionMessage_Response{Response: response},
	})
}

func (c *call) Context() context.Context { return c.context }

// RecvMsg waits for the next message; after the caller's half-close it returns [io.EOF].
func (c *call) RecvMsg(message any) error {
	payload, err := c.requests.take(c.context)
	if err != nil {
		return err
	}
	return proto.Unmarshal(payload, message.(proto.Message))
}

// SendMsg waits until the gateway takes the message.
func (c *call) SendMsg(message any) error {
	if err := c.context.Err(); err != nil {
		return err
	}
	payload, err := proto.Marshal(message.(proto.Message))
	if err != nil {
		return err
	}
	more := &registrypb.ForwardResponse{StreamingInfo: &registrypb.StreamingInfo{}, Payload: payload}
	if c.respond(more) != nil {
		return status.Error(codes.Unavailable, "the tunnel is over")
	}
	return nil
}

func (c *call) SetHeader(header metadata.MD) error {
	if c.answered {
		return errors.New("the header is on its way already")
	}
	c.header = metadata.Join(c.header, header)
	return nil
}

// SendHeader is SetHeader: on a tunnel, a header travels with the first message or with the end.
func (c *call) SendHeader(header metadata.MD) error { return c.SetHeader(header) }

func (c *call) SetTrailer(trailer metadata.MD) { c.trailer = metadata.Join(c.trailer, trailer) }

// inbox holds a call's messages until its method takes them: the tunnel must be read all the time.
type inbox struct {
	mutex    sync.Mutex
	payloads [][]byte
	ended    bool
	changed  chan struct{} // full if something came since the method looked
}

func (i *inbox) put(payload []byte) {
	i.mutex.Lock()
	i.payloads = append(i.payloads, payload)
	i.mutex.Unlock()
	i.wake()
}

func (i *inbox) end() {
	i.mutex.Lock()
	i.ended = true
	i.mutex.Unlock()
	i.wake()
}

func (i *inbox) wake() {
	select {
	case i.changed <- struct{}{}:
	default:
	}
}

func (i *inbox) take(ctx context.Context) ([]byte, error) {
	for {
		if payload, ok, ended := i.first(); ok {
			return payload, nil
		} else if ended {
			return nil, io.EOF
		}
		select {
		case <-i.changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (i *inbox) first() (payload []byte, ok, ended bool) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if len(i.payloads) == 0 {
		return nil, false, i.ended
	}
	payload, i.payloads = i.payloads[0], i.payloads[1:]
	return payload, true, i.ended
}

// In frames, as on the wire, values of names that end in -bin are in base64.

func fromFrame(headers []*registrypb.Header) metadata.MD {
	values := metadata.MD{}
	for _, header := range headers {
		value := string(header.Value)
		if strings.HasSuffix(header.Name, "-bin") {
			decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				continue // a gRPC server would not have it either
			}
			value = string(decoded)
		}
		values.Append(header.Name, value)
	}
	return values
}

func toFrame(values metadata.MD) []*registrypb.Header {
	var headers []*registrypb.Header
	for name, list := range values {
		for _, value := range list {
			if strings.HasSuffix(name, "-bin") {
				value = base64.RawStdEncoding.EncodeToString([]byte(value))
			}
			headers = append(headers, &registrypb.Header{Name: name, Value: []byte(value)})
		}
	}
	return headers
}
