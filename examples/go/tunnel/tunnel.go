package tunnel

import (
	"context"
	"log"
	"sync"
	"time"

	"adit.example/go/registrypb"
)

const (
	heartbeatInterval = 30 * time.Second
	// Calls that the gateway sent before it read a goodbye still come for so long.
	goodbyeWait = time.Second
)

// tunnel is one stream to the gateway, with the calls on it.
type tunnel struct {
	methods map[string]method
	stream  registrypb.RegistryService_EstablishConnectionClient
	sending sync.Mutex // a stream takes one frame at a time

	state        sync.Mutex // guards what follows
	registeredAt time.Time
	calls        map[string]*call // by request_id
}

// send waits until the gateway takes the frame. An error means that the tunnel is over, which the one
// who reads it learns too, with the reason.
func (t *tunnel) send(frame *registrypb.ConnectionMessage) error {
	t.sending.Lock()
	defer t.sending.Unlock()
	return t.stream.Send(frame)
}

func (t *tunnel) sendRegister(key string, services []string) {
	t.send(&registrypb.ConnectionMessage{MessageType: &registrypb.ConnectionMessage_Register{
		Register: &registrypb.ConnectionRegister{
			ApiKey: key, Services: services, Features: []string{"stream", "cancel", "headers"},
		},
	}})
}

func (t *tunnel) sendHeartbeats() {
	for {
		select {
		case now := <-time.After(heartbeatInterval):
			t.send(&registrypb.ConnectionMessage{MessageType: &registrypb.ConnectionMessage_Heartbeat{
				Heartbeat: &registrypb.Heartbeat{Timestamp: now.Unix()},
			}})
		case <-t.stream.Context().Done():
			return
		}
	}
}

func (t *tunnel) take(frame *registrypb.ConnectionMessage) {
	switch frame := frame.MessageType.(type) {
	case *registrypb.ConnectionMessage_Status:
		if frame.Status.Status == registrypb.ConnectionStatus_CONNECTED {
			t.state.Lock()
			t.registeredAt = time.Now()
			t.state.Unlock()
			log.Printf("registered: connection=%s", frame.Status.ConnectionId)
		}
	case *registrypb.ConnectionMessage_Request:
		t.takeRequest(frame.Request)
	case *registrypb.ConnectionMessage_Cancel:
		if call := t.call(frame.Cancel.RequestId); call != nil {
			call.cancel()
		}
	}
}

func (t *tunnel) takeRequest(request *registrypb.ForwardRequest) {
	info := request.GetStreamingInfo()
	if info.GetSequenceNumber() == 0 {
		t.begin(request)
	}
	call := t.call(request.RequestId)
	if call == nil {
		return // its answer is complete already
	}
	// A call in one frame has a message, if an empty one; the end of any other call has none.
	if info.GetStreamType() == registrypb.StreamingInfo_UNARY || !info.GetIsStreamEnd() {
		call.requests.put(request.Payload)
	}
	if info.GetIsStreamEnd() {
		call.requests.end()
	}
}

func (t *tunnel) begin(request *registrypb.ForwardRequest) {
	call := newCall(t, request)
	t.state.Lock()
	t.calls[request.RequestId] = call
	t.state.Unlock()
	go func() {
		call.serve(t.methods[request.MethodPath])
		t.state.Lock()
		delete(t.calls, request.RequestId)
		t.state.Unlock()
		close(call.over)
	}()
}

func (t *tunnel) call(id string) *call {
	t.state.Lock()
	defer t.state.Unlock()
	return t.calls[id]
}

// anyCall returns one of the calls that are not over, or nil.
func (t *tunnel) anyCall() *call {
	t.state.Lock()
	defer t.state.Unlock()
	for _, call := range t.calls {
		return call
	}
	return nil
}

// leave says goodbye, finishes the calls and ends the stream. A tunnel that is not open yet is given up
// with cancel.
func (t *tunnel) leave(cancel context.CancelFunc) {
	if t.lasted() == 0 {
		cancel()
		return
	}
	t.state.Lock()
	log.Printf("leaving: calls=%d", len(t.calls))
	t.state.Unlock()
	t.send(&registrypb.ConnectionMessage{MessageType: &registrypb.ConnectionMessage_Status{
		Status: &registrypb.ConnectionStatus{Status: registrypb.ConnectionStatus_DISCONNECTED},
	}})
	time.Sleep(goodbyeWait)
	for call := t.anyCall(); call != nil; call = t.anyCall() {
		<-call.over
	}
	t.sending.Lock()
	defer t.sending.Unlock()
	t.stream.CloseSend()
}

// lasted tells how long the tunnel has been open; 0 if it never was.
func (t *tunnel) lasted() time.Duration {
	t.state.Lock()
	defer t.state.Unlock()
	if t.registeredAt.IsZero() {
		return 0
	}
	return time.Since(t.registeredAt)
}
