// Command service serves demo.Greeter through an Adit gateway: `ADIT_API_KEY=<key> go run ./service`
// dials in. The methods are an ordinary gRPC server's; the package tunnel does the rest.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"adit.example/go/greeterpb"
	"adit.example/go/tunnel"
)

type greeter struct {
	greeterpb.UnimplementedGreeterServer
}

func (greeter) Greet(ctx context.Context, request *greeterpb.GreetRequest) (*greeterpb.GreetReply, error) {
	if request.Name == "" {
		return nil, status.Error(codes.InvalidArgument, "one name, please")
	}
	hello := "Hello"
	if slices.Contains(metadata.ValueFromIncomingContext(ctx, "accept-language"), "de") {
		hello = "Hallo"
	}
	return &greeterpb.GreetReply{Text: fmt.Sprintf("%s, %s!", hello, request.Name)}, nil
}

func (greeter) Count(request *greeterpb.CountRequest, replies grpc.ServerStreamingServer[greeterpb.CountReply]) error {
	for number := range request.Limit {
		if err := replies.Send(&greeterpb.CountReply{Number: number + 1}); err != nil {
			return err
		}
		select {
		case <-time.After(time.Duration(request.PauseMs) * time.Millisecond):
		case <-replies.Context().Done():
			return replies.Context().Err()
		}
	}
	return nil
}

func (greeter) Sum(numbers grpc.ClientStreamingServer[greeterpb.SumRequest, greeterpb.SumReply]) error {
	var total int64
	for {
		request, err := numbers.Recv()
		if err == io.EOF {
			return numbers.SendAndClose(&greeterpb.SumReply{Total: total})
		}
		if err != nil {
			return err
		}
		total += request.Number
	}
}

func (greeter) Chat(chat grpc.BidiStreamingServer[greeterpb.ChatMessage, greeterpb.ChatMessage]) error {
	for {
		message, err := chat.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := chat.Send(&greeterpb.ChatMessage{Text: "You said: " + message.Text}); err != nil {
			return err
		}
	}
}

func main() {
	log.SetFlags(0)
	key := os.Getenv("ADIT_API_KEY")
	if key == "" {
		log.Fatal("ADIT_API_KEY is not set")
	}
	leaving, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(leaving, stop) // so that a second signal ends the program at once

	server := tunnel.NewServer(key)
	greeterpb.RegisterGreeterServer(server, greeter{})
	if err := server.Run(leaving); err != nil {
		log.Fatal("stopped: ", err)
	}
}
