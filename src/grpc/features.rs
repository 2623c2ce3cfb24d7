//! What a peer asks for beyond the plain dialect, and what it is granted.

/// The features of one tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of named features, each on or off")]
pub struct Features {
    /// The peer asked for at least one feature, known or not.
    asked: bool,
    /// Calls that are not one whole message.
    pub stream: bool,
    /// `cancel` frames.
    pub cancel: bool,
    /// Exact metadata.
    pub headers: bool,
    /// Compressed payloads.
    pub compression: bool,
    /// `drain` frames.
    pub drain: bool,
    /// `event_ack` frames.
    pub event_ack: bool,
}

impl Features {
    /// Reads what a peer asks for; what is not known is not granted.
    pub fn asked(names: &[String]) -> Self {
        let has = |name: &str| names.iter().any(|asked| asked == name);
        Self {
            asked: !names.is_empty(),
            stream: has("stream"),
            cancel: has("cancel"),
            headers: has("headers"),
            compression: has("compression"),
            drain: has("drain"),
            event_ack: has("event_ack"),
        }
    }

    /// Whether the peer speaks the plain dialect: it asked for nothing.
    pub fn is_plain(self) -> bool {
        !self.asked
    }

    /// The names of what is granted.
    pub fn granted(self) -> Vec<String> {
        let features = [
            ("stream", self.stream),
            ("cancel", self.cancel),
            ("headers", self.headers),
            ("compression", self.compression),
            ("drain", self.drain),
            ("event_ack", self.event_ack),
        ];
        let granted = features.into_iter().filter(|(_, on)| *on);
        granted.map(|(name, _)| name.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_and_known_is_granted() {
        let asked = ["stream", "headers", "teleport"].map(str::to_owned);
        assert_eq!(Features::asked(&asked).granted(), ["stream", "headers"]);
        assert!(Features::asked(&[]).is_plain());
        assert!(!Features::asked(&["teleport".to_owned()]).is_plain());
    }
}
