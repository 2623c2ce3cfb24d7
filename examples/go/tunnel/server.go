// Package tunnel serves gRPC services through an Adit gateway: it dials in, keeps a tunnel open, and
// hands the calls that come down it to methods as they are in generated code.
//
// proto/registry.proto of this repository explains the frames of a tunnel.
package tunnel

import (
	"context"
	"log"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"adit.example/go/gateway"
	"adit.example/go/registrypb"
)

const (
	delayFirst  = time.Second
	delayMax    = 120 * time.Second
	delayFactor = 1.6
	// A tunnel that lasted this long makes the next delay the first one again.
	stableAfter = 30 * time.Second
	// Notices a gateway that went without a word.
	keepaliveInterval = 30 * time.Second
)

// Server has the services that a tunnel serves. It is a [grpc.ServiceRegistrar], as a [grpc.Server] is.
type Server struct {
	key     string
	names   []string
	methods map[string]method
}

// method serves one call; its error is the status that the caller gets.
type method func(*call) error

// NewServer makes a server without services, with the key that admits it to the gateway.
func NewServer(key string) *Server {
	return &Server{key: key, methods: map[string]method{}}
}

// RegisterService adds a service. Call it before Run.
func (s *Server) RegisterService(service *grpc.ServiceDesc, implementation any) {
	s.names = append(s.names, service.ServiceName)
	for _, unary := range service.Methods {
		s.methods[path(service, unary.MethodName)] = func(call *call) error {
			reply, err := unary.Handler(implementation, call.Context(), call.RecvMsg, nil)
			if err != nil {
				return err
			}
			return call.SendMsg(reply)
		}
	}
	for _, stream := range service.Streams {
		s.methods[path(service, stream.StreamName)] = func(call *call) error {
			return stream.Handler(implementation, call)
		}
	}
}

func path(service *grpc.ServiceDesc, method string) string {
	return "/" + service.ServiceName + "/" + method
}

// Run keeps a tunnel open until leaving is done and the calls of then are finished. It gives up, with an
// error, only when the gateway does not let the server in: trying again would not help.
func (s *Server) Run(leaving context.Context) error {
	delay := delayFirst
	for {
		lasted, err := s.serve(leaving)
		if leaving.Err() != nil {
			return nil
		}
		log.Printf("tunnel ended: code=%s message=%s", status.Code(err), status.Convert(err).Message())
		switch status.Code(err) {
		case codes.Unauthenticated, codes.PermissionDenied:
			return err
		}
		if lasted >= stableAfter {
			delay = delayFirst
		}
		select {
		case <-time.After(time.Duration(float64(delay) * (0.8 + 0.4*rand.Float64()))):
		case <-leaving.Done():
			return nil
		}
		delay = min(time.Duration(float64(delay)*delayFactor), delayMax)
	}
}

// serve dials and serves one tunnel. It tells how long that was registered, and how it ended.
func (s *Server) serve(leaving context.Context) (lasted time.Duration, err error) {
	connection, err := gateway.Connect(
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval}))
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	ctx, end := context.WithCancel(context.Background())
	defer end()
	stream, err := registrypb.NewRegistryServiceClient(connection).EstablishConnection(ctx)
	if err != nil {
		return 0, err
	}
	tunnel := &tunnel{methods: s.methods, stream: stream, calls: map[string]*call{}}
	defer context.AfterFunc(leaving, func() { tunnel.leave(end) })()
	tunnel.sendRegister(s.key, s.names)
	go tunnel.sendHeartbeats()
	for {
		frame, err := stream.Recv()
		if err != nil {
			return tunnel.lasted(), err
		}
		tunnel.take(frame)
	}
}
