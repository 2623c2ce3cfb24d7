//! `grpc.reflection`: which services there are, and what they look like.
//!
//! The gateway knows names and no schemas. What is asked about its own services it answers itself;
//! any other question goes to a server behind a tunnel that is likely to know, as a call of the
//! gateway's own. One stream asks one tunnel of a service as long as it can, so that it sees one
//! version of each schema.

mod inquiry;
mod own_files;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _, try_unfold};
use prost::Message as _;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use crate::actors::entry::EntryHandle;
use crate::actors::live::LiveLimits;
use crate::actors::now;
use crate::actors::registry::{Admits, RegistryHandle};
use crate::actors::traffic::{Message, Room};
use crate::tunnel::allowance::Allowance;
use crate::tunnel::code::Code;
use crate::tunnel::directory::Witness;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::ServiceName;

use super::asker::Asker;
use super::own_proto::health::health_server;
use super::own_proto::reflection::server_reflection_request::MessageRequest;
use super::own_proto::reflection::server_reflection_response::MessageResponse;
use super::own_proto::reflection::server_reflection_server::{
    self as v1, ServerReflection, ServerReflectionServer,
};
use super::own_proto::reflection::{
    ErrorResponse, ListServiceResponse, ServerReflectionRequest, ServerReflectionResponse,
    ServiceResponse,
};
use super::own_proto::reflection_alpha::server_reflection_server as v1alpha;
use super::status;
use super::wire::{Phase, Roles, Shared, Wire};
use inquiry::Heard;

/// Names in one list; so many fit in a message by far, and a person reads fewer.
const LISTED_MAX: usize = 10_000;
/// A question is a name: of a file, a symbol or a type.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Servers that one stream remembers to have answered it.
const REMEMBERED_MAX: usize = 64;

/// The service for one request.
#[derive(Debug)]
pub struct Reflection {
    sources: Sources,
    phase: watch::Receiver<Phase>,
}

/// Where answers come from.
#[derive(Clone, Debug)]
struct Sources {
    asker: Arc<Asker>,
    registry: RegistryHandle,
    entry: EntryHandle,
    limits: LiveLimits,
    /// What the caller's connection holds of answers that it has not taken.
    unread: Allowance,
    /// What is served beside this.
    roles: Roles,
}

/// The two names of the service, which a server may know one or both of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V1Alpha,
}

type Answers = BoxStream<'static, Result<ServerReflectionResponse, Status>>;

impl Reflection {
    /// Answers one caller.
    pub fn new(wire: &Wire, shared: &Shared, asker: Asker) -> Self {
        let registry = wire.worker.tunnels.registry.clone();
        let (entry, limits) = (wire.worker.entry.clone(), wire.worker.tunnels.limits.clone());
        let (unread, asker) = (shared.unread.clone(), Arc::new(asker));
        let sources = Sources { asker, registry, entry, limits, unread, roles: shared.roles };
        Self { sources, phase: wire.phase.clone() }
    }

    /// The service as it is served.
    pub fn service(self) -> ServerReflectionServer<Self> {
        ServerReflectionServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    /// The same under its first name.
    pub fn alpha_service(self) -> v1alpha::ServerReflectionServer<Self> {
        v1alpha::ServerReflectionServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    fn answers(
        &self,
        questions: Streaming<ServerReflectionRequest>,
    ) -> Result<Response<Answers>, Status> {
        let stream = Stream {
            admits: self.sources.asker.admits()?,
            questions,
            phase: self.phase.clone(),
            sources: self.sources.clone(),
            answered: Vec::new(),
            room: Room::default(),
        };
        // The next question is read when the answer before has been taken.
        let answers = try_unfold(stream, |mut stream| async move {
            let Some(question) = stream.question().await? else { return Ok(None) };
            let answer = stream.answer(question).await;
            Ok(Some((answer, stream)))
        });
        Ok(Response::new(answers.boxed()))
    }
}

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream = Answers;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        self.answers(request.into_inner())
    }
}

#[tonic::async_trait]
impl v1alpha::ServerReflection for Reflection {
    type ServerReflectionInfoStream = Answers;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        self.answers(request.into_inner())
    }
}

/// One stream of questions.
struct Stream {
    /// What the caller may hear of.
    admits: Admits,
    questions: Streaming<ServerReflectionRequest>,
    phase: watch::Receiver<Phase>,
    sources: Sources,
    /// Who has answered, and to which name; the last one last.
    answered: Vec<(Witness, Version)>,
    /// Held for the last answer of a server until the next comes: by then the caller has taken it.
    room: Room,
}

impl Stream {
    /// The next question; `None` after the last.
    async fn question(&mut self) -> Result<Option<ServerReflectionRequest>, Status> {
        let phase = &mut self.phase;
        let closing = async { drop(phase.wait_for(|phase| *phase == Phase::Closing).await) };
        tokio::select! {
            question = self.questions.message() => question,
            () = closing => Err(status::refusal(Failure::Draining)),
        }
    }

    async fn answer(&mut self, question: ServerReflectionRequest) -> ServerReflectionResponse {
        let answer = match &question.message_request {
            None => error(Code::INVALID_ARGUMENT, "the question is empty"),
            Some(MessageRequest::ListServices(_)) => self.sources.list(self.admits.clone()).await,
            Some(asked) => match own_files::answer(asked) {
                Some(answer) => answer,
                None => self.pass_on(&question, asked).await,
            },
        };
        ServerReflectionResponse {
            valid_host: question.host.clone(),
            original_request: Some(question),
            message_response: Some(answer),
        }
    }

    /// Asks the servers that are likely to know, one after the other.
    async fn pass_on(
        &mut self,
        question: &ServerReflectionRequest,
        asked: &MessageRequest,
    ) -> MessageResponse {
        // Whoever answers, the caller's key pays for the question as for a call.
        let Ok(_place) = self.sources.asker.place_of_call() else {
            return error(Code::RESOURCE_EXHAUSTED, "the key has too many calls in flight");
        };
        let deadline = now() + self.sources.limits.now().reflection_timeout;
        let question = Bytes::from(question.encode_to_vec());
        let known = self.answered.iter().map(|(witness, _)| witness.clone()).collect();
        let (registry, admits) = (&self.sources.registry, self.admits.clone());
        let witnesses = registry.witnesses(symbol(asked), known, admits).await;
        for witness in witnesses {
            let before = self.answered.iter().find(|(known, _)| *known == witness);
            let version = before.map(|(_, version)| *version);
            match self.sources.ask(&witness, version, &question, deadline).await {
                Ok((answer, room, version)) => {
                    self.remember(witness, version);
                    self.room = room;
                    return answer;
                }
                Err(Heard::TooLate) => {
                    return error(Code::DEADLINE_EXCEEDED, "no service has answered in time");
                }
                Err(_) => {}
            }
        }
        error(Code::NOT_FOUND, "no service behind this gateway knows it")
    }

    fn remember(&mut self, witness: Witness, version: Version) {
        self.answered.retain(|(known, _)| *known != witness);
        if self.answered.len() >= REMEMBERED_MAX {
            self.answered.remove(0);
        }
        self.answered.push((witness, version));
    }
}

impl Sources {
    /// Everything that the caller can call here now.
    async fn list(&self, admits: Admits) -> MessageResponse {
        let own = [v1::SERVICE_NAME, v1alpha::SERVICE_NAME];
        let Roles { health, events, .. } = self.roles;
        let own = own.into_iter().chain(health.then_some(health_server::SERVICE_NAME));
        let own = own.chain(events.then_some(super::events::SERVICE_NAME));
        let Some(served) = self.registry.served(admits, LISTED_MAX).await else {
            let text = format!("there are more than {LISTED_MAX} services");
            return error(Code::RESOURCE_EXHAUSTED, &text);
        };
        let served = served.iter().map(ServiceName::as_str);
        let mut names: Vec<String> = own.chain(served).map(str::to_owned).collect();
        names.sort_unstable();
        let service = names.into_iter().map(|name| ServiceResponse { name }).collect();
        MessageResponse::ListServicesResponse(ListServiceResponse { service })
    }

    /// Asks one server, under the name that it has answered to before, or under both.
    async fn ask(
        &self,
        witness: &Witness,
        version: Option<Version>,
        question: &Bytes,
        deadline: Instant,
    ) -> Result<(MessageResponse, Room, Version), Heard> {
        let versions = version.map_or(vec![Version::V1, Version::V1Alpha], |known| vec![known]);
        for version in versions {
            let (method, witness) = (version.method(), witness.clone());
            match inquiry::ask(self, method, witness, question.clone(), deadline).await {
                Heard::Answer(Message { payload, room, .. }) => {
                    let answer = read(payload).ok_or(Heard::Nothing)?;
                    return Ok((answer, room, version));
                }
                Heard::Unimplemented => {}
                other @ (Heard::TooLate | Heard::Nothing) => return Err(other),
            }
        }
        Err(Heard::Nothing)
    }
}

impl Version {
    fn method(self) -> &'static str {
        match self {
            Self::V1 => "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            Self::V1Alpha => "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        }
    }
}

/// The name in a question by which those who know can be guessed. A file's name says too little.
fn symbol(asked: &MessageRequest) -> Option<&str> {
    match asked {
        MessageRequest::FileContainingSymbol(symbol) => Some(symbol),
        MessageRequest::FileContainingExtension(extension) => Some(&extension.containing_type),
        MessageRequest::AllExtensionNumbersOfType(base) => Some(base),
        MessageRequest::FileByFilename(_) | MessageRequest::ListServices(_) => None,
    }
}

/// What a server has answered, if that is more than an error.
fn read(answer: Bytes) -> Option<MessageResponse> {
    let answer = ServerReflectionResponse::decode(answer).ok()?.message_response?;
    let failed = matches!(answer, MessageResponse::ErrorResponse(_));
    (!failed).then_some(answer)
}

fn error(code: Code, text: &str) -> MessageResponse {
    MessageResponse::ErrorResponse(ErrorResponse {
        error_code: code.number(),
        error_message: text.to_owned(),
    })
}
