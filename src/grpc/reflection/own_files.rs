//! The schemas of the gateway's own services, and the answers to questions about them.

use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};

use crate::grpc::own_proto::reflection::server_reflection_request::MessageRequest;
use crate::grpc::own_proto::reflection::server_reflection_response::MessageResponse;
use crate::grpc::own_proto::reflection::{ExtensionNumberResponse, FileDescriptorResponse};

static FILES: LazyLock<Vec<OwnFile>> = LazyLock::new(|| {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/own_files.binpb"));
    let set = FileDescriptorSet::decode(&bytes[..]).expect("the build wrote this file");
    set.file.iter().map(OwnFile::new).collect()
});

/// One file of `proto/grpc`.
#[derive(Debug)]
struct OwnFile {
    name: String,
    descriptor: Bytes,
    /// Full names of what it declares at its top.
    declared: Vec<String>,
}

impl OwnFile {
    fn new(file: &FileDescriptorProto) -> Self {
        let services = file.service.iter().map(ServiceDescriptorProto::name);
        let messages = file.message_type.iter().map(DescriptorProto::name);
        let names = services.chain(messages);
        let declared = names.map(|name| format!("{}.{name}", file.package())).collect();
        let descriptor = file.encode_to_vec().into();
        Self { name: file.name().to_owned(), descriptor, declared }
    }

    /// Whether the symbol is declared here, or is inside of what is: a method, a field, a value.
    fn has(&self, symbol: &str) -> bool {
        self.declared.iter().any(|own| {
            symbol
                .strip_prefix(own.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

/// The answer to a question about the gateway's own services; `None` if it is about something else.
pub(super) fn answer(question: &MessageRequest) -> Option<MessageResponse> {
    match question {
        MessageRequest::FileByFilename(name) => {
            FILES.iter().find(|file| file.name == *name).map(descriptor)
        }
        MessageRequest::FileContainingSymbol(symbol) => {
            FILES.iter().find(|file| file.has(symbol)).map(descriptor)
        }
        MessageRequest::AllExtensionNumbersOfType(base) => {
            let numbers = ExtensionNumberResponse {
                base_type_name: base.clone(),
                extension_number: Vec::new(),
            };
            let own = FILES.iter().any(|file| file.has(base));
            own.then_some(MessageResponse::AllExtensionNumbersResponse(numbers))
        }
        // No message of the gateway's own can be extended.
        MessageRequest::FileContainingExtension(_) | MessageRequest::ListServices(_) => None,
    }
}

fn descriptor(file: &OwnFile) -> MessageResponse {
    let file_descriptor_proto = vec![file.descriptor.clone()];
    MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_are_found_by_name_and_by_what_they_declare() {
        let health = "grpc/health/v1/health.proto";
        let alpha = "grpc/reflection/v1alpha/reflection.proto";
        assert_eq!(file(&MessageRequest::FileByFilename(health.into())).as_deref(), Some(health));
        for (symbol, name) in [
            ("grpc.health.v1.Health", Some(health)),
            ("grpc.health.v1.Health.Watch", Some(health)),
            ("grpc.health.v1.HealthCheckResponse.ServingStatus", Some(health)),
            ("grpc.reflection.v1alpha.ErrorResponse", Some(alpha)),
            ("grpc.health.v1.HealthCheck", None),
            ("grpc.health.v1", None),
            ("demo.Echo", None),
            ("", None),
        ] {
            let found = file(&MessageRequest::FileContainingSymbol(symbol.into()));
            assert_eq!(found.as_deref(), name, "{symbol}");
        }
    }

    #[test]
    fn own_messages_have_no_extensions() {
        let numbers = |base: &str| answer(&MessageRequest::AllExtensionNumbersOfType(base.into()));
        let Some(MessageResponse::AllExtensionNumbersResponse(own)) =
            numbers("grpc.health.v1.HealthCheckRequest")
        else {
            panic!("an answer")
        };
        assert!(own.extension_number.is_empty());
        assert_eq!(numbers("demo.Greeting"), None);
    }

    /// The name of the file that is the answer.
    fn file(question: &MessageRequest) -> Option<String> {
        let MessageResponse::FileDescriptorResponse(response) = answer(question)? else {
            panic!("a file")
        };
        let [descriptor] = &response.file_descriptor_proto[..] else { panic!("one file") };
        Some(FileDescriptorProto::decode(&descriptor[..]).unwrap().name().to_owned())
    }
}
