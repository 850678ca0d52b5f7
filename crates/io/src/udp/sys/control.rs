use std::ops::Range;

/// Bytes of a control message before its data (`CMSG_LEN(0)`).
const HEADER: usize = size_of::<libc::cmsghdr>();
const WORD: usize = size_of::<usize>();

const fn aligned(len: usize) -> usize {
    len.next_multiple_of(WORD)
}

/// Control messages (cmsg(3)) beside a datagram, built and read as plain bytes: a length of one
/// word, a level and a kind of an `int` each, data, padding to a word.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(in crate::udp) struct ControlBuffer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for ControlBuffer<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> ControlBuffer<N> {
    /// Appends a message. `N` is chosen by the caller to hold all it appends.
    pub(in crate::udp) fn push(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        let at = self.len;
        self.bytes[at..at + WORD].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
        self.bytes[at + WORD..at + WORD + 4].copy_from_slice(&level.to_ne_bytes());
        self.bytes[at + WORD + 4..at + HEADER].copy_from_slice(&kind.to_ne_bytes());
        self.bytes[at + HEADER..at + HEADER + data.len()].copy_from_slice(data);
        self.len += aligned(HEADER + data.len());
    }

    /// What was built or received.
    pub(in crate::udp) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Each message as (level, kind, data).
    pub(in crate::udp) fn messages(
        &self,
    ) -> impl Iterator<Item = (libc::c_int, libc::c_int, &[u8])> {
        Messages { bytes: self.bytes(), at: 0 }
    }

    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(super) fn set_received(&mut self, len: usize) {
        self.len = len.min(N);
    }
}

struct Messages<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Messages<'a> {
    type Item = (libc::c_int, libc::c_int, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..)?;
        let (len, rest) = rest.split_first_chunk::<WORD>()?;
        let (level, rest) = rest.split_first_chunk::<4>()?;
        let (kind, _) = rest.split_first_chunk::<4>()?;
        let data = message_data(self.at, usize::from_ne_bytes(*len))?;
        self.at += aligned(data.end - self.at);
        let data = self.bytes.get(data)?;
        Some((libc::c_int::from_ne_bytes(*level), libc::c_int::from_ne_bytes(*kind), data))
    }
}

fn message_data(at: usize, len: usize) -> Option<Range<usize>> {
    (len >= HEADER).then_some(at + HEADER..at.checked_add(len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_pushed() {
        let mut control = ControlBuffer::<64>::default();
        control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &1400_u16.to_ne_bytes());
        control.push(libc::IPPROTO_IP, libc::IP_TOS, &2_i32.to_ne_bytes());
        let all: Vec<_> = control.messages().collect();
        let expected: [(i32, i32, &[u8]); 2] = [
            (libc::SOL_UDP, libc::UDP_SEGMENT, &1400_u16.to_ne_bytes()),
            (libc::IPPROTO_IP, libc::IP_TOS, &2_i32.to_ne_bytes()),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn message_cut_off_by_the_end_of_the_buffer_is_not_read() {
        let mut control = ControlBuffer::<64>::default();
        control.push(libc::SOL_UDP, libc::UDP_GRO, &1400_i32.to_ne_bytes());
        control.set_received(HEADER + 2);
        assert_eq!(control.messages().count(), 0);
    }
}
