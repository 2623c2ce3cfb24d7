// Command caller calls demo.Greeter at an Adit gateway as if the gateway were the service: plain gRPC,
// no more.
//
//	go run ./caller
//
// ADIT_ADDRESS says where the gateway is. If it asks callers for a key, put one into ADIT_CALLER_KEY.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"adit.example/go/gateway"
	"adit.example/go/greeterpb"
)

const timeout = 10 * time.Second

func main() {
	log.SetFlags(0)
	connection, err := gateway.Connect()
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if key := os.Getenv("ADIT_CALLER_KEY"); key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-adit-key", key)
	}
	if err := call(ctx, greeterpb.NewGreeterClient(connection)); err != nil {
		log.Fatal(err)
	}
}

func call(ctx context.Context, greeter greeterpb.GreeterClient) error {
	greeting, err := greeter.Greet(ctx, &greeterpb.GreetRequest{Name: "Ada"})
	if err != nil {
		return err
	}
	fmt.Println("Greet:", greeting.Text)

	counting, err := greeter.Count(ctx, &greeterpb.CountRequest{Limit: 3})
	if err != nil {
		return err
	}
	for {
		reply, err := counting.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		fmt.Println("Count:", reply.Number)
	}

	numbers, err := greeter.Sum(ctx)
	if err != nil {
		return err
	}
	for _, number := range []int64{1, 2, 3} {
		// An error here is io.EOF; what went wrong, CloseAndRecv tells.
		numbers.Send(&greeterpb.SumRequest{Number: number})
	}
	sum, err := numbers.CloseAndRecv()
	if err != nil {
		return err
	}
	fmt.Println("Sum:", sum.Total)

	chat, err := greeter.Chat(ctx)
	if err != nil {
		return err
	}
	for _, text := range []string{"hello", "goodbye"} {
		chat.Send(&greeterpb.ChatMessage{Text: text})
	}
	chat.CloseSend()
	for {
		reply, err := chat.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		fmt.Println("Chat:", reply.Text)
	}

	_, err = greeter.Greet(ctx, &greeterpb.GreetRequest{})
	fmt.Println("Greet without a name:", status.Code(err), status.Convert(err).Message())
	return nil
}
