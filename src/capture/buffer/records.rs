//! Records copied out of a buffer. They are handled after libbpf has returned, so that a panic
//! never unwinds through frames of C.

#[derive(Debug, Default)]
pub(super) struct Records {
    /// The records, concatenated.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    pub(super) fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    /// Removes all records, calling `record` with each in order.
    pub(super) fn drain(&mut self, record: &mut dyn FnMut(&[u8])) {
        let mut start = 0;
        for &end in &self.ends {
            record(&self.bytes[start..end]);
            start = end;
        }
        self.bytes.clear();
        self.ends.clear();
    }
}
