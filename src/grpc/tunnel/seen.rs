//! What is seen of a frame without looking into it: its kind, and the call that it belongs to.

use crate::actors::traffic::{Outgoing, Reply};
use crate::grpc::decode::{Incoming, Unreadable};
use crate::observe::tunnels::{FrameCall, FrameKind};

/// The kind of a frame that has come, by the first field of its envelope. One that begins with
/// something else counts as unknown, whatever follows.
#[inline]
pub(super) fn kind(frame: &[u8]) -> FrameKind {
    /// A field is length-delimited if the last bits of its tag are these.
    const LENGTH_DELIMITED: u8 = 2;
    let Some(tag) = frame.first().filter(|tag| **tag & 7 == LENGTH_DELIMITED) else {
        return FrameKind::Unknown;
    };
    match tag >> 3 {
        1 => FrameKind::Register,
        2 => FrameKind::Request,
        3 => FrameKind::Response,
        4 => FrameKind::Heartbeat,
        5 => FrameKind::Status,
        6 => FrameKind::Event,
        7 => FrameKind::Subscription,
        8 => FrameKind::Cancel,
        9 => FrameKind::Drain,
        10 => FrameKind::EventAck,
        _ => FrameKind::Unknown,
    }
}

/// The call of a frame that has come.
#[inline]
pub(super) fn call(frame: &Result<Incoming, Unreadable>) -> FrameCall<'_> {
    match frame {
        Ok(Incoming::Answer(Some(request), _)) | Err(Unreadable::Answer(request)) => {
            FrameCall::Own(request.uuid().as_u128())
        }
        Ok(Incoming::Request(request)) => FrameCall::Peers(&request.request_id),
        Ok(Incoming::Cancel(peer_request)) => FrameCall::Peers(peer_request),
        Ok(
            Incoming::Answer(None, _)
            | Incoming::Register(_)
            | Incoming::Heartbeat(_)
            | Incoming::Goodbye
            | Incoming::Status
            | Incoming::Event(_)
            | Incoming::Subscription(_)
            | Incoming::Unknown,
        )
        | Err(Unreadable::Register | Unreadable::Event | Unreadable::Nothing) => FrameCall::None,
    }
}

/// The kind and the call of a frame that goes.
#[inline]
pub(super) fn of_outgoing(frame: &Outgoing) -> (FrameKind, FrameCall<'_>) {
    match frame {
        Outgoing::Connected
        | Outgoing::Reply { reply: Reply::Error(_) | Reply::SubscriptionEnded(_), .. } => {
            (FrameKind::Status, FrameCall::None)
        }
        Outgoing::Event(_) | Outgoing::Missed(_) => (FrameKind::Event, FrameCall::None),
        Outgoing::EventAck(_) | Outgoing::Reply { reply: Reply::EventAck(_), .. } => {
            (FrameKind::EventAck, FrameCall::None)
        }
        Outgoing::Request { request, .. } => {
            (FrameKind::Request, FrameCall::Own(request.uuid().as_u128()))
        }
        Outgoing::Response { peer_request, .. } => {
            (FrameKind::Response, FrameCall::Peers(peer_request))
        }
        Outgoing::Cancel { request, .. } => {
            (FrameKind::Cancel, FrameCall::Own(request.uuid().as_u128()))
        }
        Outgoing::Drain { .. } => (FrameKind::Drain, FrameCall::None),
        Outgoing::Heartbeat => (FrameKind::Heartbeat, FrameCall::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::connection_message::MessageType;
    use crate::grpc::proto::{
        Cancel, ConnectionMessage, ConnectionRegister, ConnectionStatus, Drain, EventAck,
        EventMessage, ForwardRequest, ForwardResponse, Heartbeat, SubscriptionRequest,
    };
    use prost::Message;

    #[test]
    fn every_field_of_the_envelope_is_a_kind() {
        let frames = [
            ("register", MessageType::Register(ConnectionRegister::default())),
            ("request", MessageType::Request(ForwardRequest::default())),
            ("response", MessageType::Response(ForwardResponse::default())),
            ("heartbeat", MessageType::Heartbeat(Heartbeat::default())),
            ("status", MessageType::Status(ConnectionStatus::default())),
            ("event", MessageType::Event(EventMessage::default())),
            ("subscription", MessageType::Subscription(SubscriptionRequest::default())),
            ("cancel", MessageType::Cancel(Cancel::default())),
            ("drain", MessageType::Drain(Drain::default())),
            ("event_ack", MessageType::EventAck(EventAck::default())),
        ];
        for (name, frame) in frames {
            let frame = ConnectionMessage { message_type: Some(frame) }.encode_to_vec();
            assert_eq!(kind(&frame).name(), name);
        }
        for bytes in [&[][..], &[0xff], &[0x9a, 0x06, 0x01, 0x00], &[0x08, 0x01]] {
            assert_eq!(kind(bytes), FrameKind::Unknown);
        }
    }
}
