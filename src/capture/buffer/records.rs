//! Records copied out of a buffer, until somebody looks at them: so that no frame of C is
//! on the stack while they are handled.

#[derive(Debug, Default)]
pub(super) struct Records {
    /// One behind the other.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    pub(super) fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    /// Hand over all of them, in order, and be empty.
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
