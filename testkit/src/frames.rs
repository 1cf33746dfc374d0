//! A stream of AMQP 0-9-1 cut into its frames.

/// Cuts a stream into frames. Source: AMQP 0-9-1, 2.3.5: a byte of type, two of channel, four of length, the payload,
/// and an end.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    const HEAD: usize = 7;

    /// The frames that are complete with these bytes, each with its channel.
    pub(crate) fn cut(&mut self, bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
        self.rest.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some((channel, length)) = self.head().filter(|(_, length)| *length <= self.rest.len()) {
            frames.push((channel, self.rest.drain(..length).collect()));
        }
        frames
    }

    /// The channel and the length of the next frame. What a client says first is no frame.
    fn head(&self) -> Option<(u16, usize)> {
        if self.rest.starts_with(b"AMQP") {
            return Some((0, 8));
        }
        let head = self.rest.get(..Self::HEAD)?;
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        Some((u16::from_be_bytes([head[1], head[2]]), Self::HEAD + length as usize + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_gives_the_same_frames_however_it_is_torn() {
        let stream = [&b"AMQP\0\0\x09\x01"[..], &[1, 0, 0, 0, 0, 0, 2, 10, 10, 0xce], &[1, 0, 3, 0, 0, 0, 0, 0xce]];
        let whole: Vec<u8> = stream.concat();
        let expected: Vec<(u16, Vec<u8>)> = [0, 0, 3].into_iter().zip(stream.map(<[u8]>::to_vec)).collect();
        assert_eq!(Frames::default().cut(&whole), expected);
        for size in 1..whole.len() {
            let mut frames = Frames::default();
            let torn: Vec<_> = whole.chunks(size).flat_map(|part| frames.cut(part)).collect();
            assert_eq!(torn, expected, "in pieces of {size}");
        }
    }
}
