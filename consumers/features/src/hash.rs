//! FNV-1a, 64 bits: one number for many bytes, also while compiling. Knows bytes; must not know what they mean. It finds
//! accidents, not forgers.

/// A hash on its way.
#[derive(Clone, Copy)]
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) const fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) const fn bytes(mut self, bytes: &[u8]) -> Hash {
        let mut at = 0;
        while at < bytes.len() {
            let byte = u64::from_le_bytes([bytes[at], 0, 0, 0, 0, 0, 0, 0]);
            self = Hash((self.0 ^ byte).wrapping_mul(0x0000_0100_0000_01b3));
            at += 1;
        }
        self
    }

    pub(crate) const fn number(self, number: u64) -> Hash {
        self.bytes(&number.to_le_bytes())
    }

    /// A text and its end, so that "ab", "c" is not "a", "bc".
    pub(crate) const fn text(self, text: &str) -> Hash {
        self.bytes(text.as_bytes()).bytes(&[0xff])
    }

    /// All 64 bits.
    pub(crate) const fn whole(self) -> u64 {
        self.0
    }

    /// Both halves in one.
    pub(crate) const fn fold(self) -> u32 {
        let all = self.0.to_le_bytes();
        u32::from_le_bytes([all[0] ^ all[4], all[1] ^ all[5], all[2] ^ all[6], all[3] ^ all[7]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fnv_1a() {
        assert_eq!(Hash::new().bytes(b"").whole(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Hash::new().bytes(b"foobar").whole(), 0x8594_4171_f739_67e8);
        assert_ne!(Hash::new().text("ab").text("c").whole(), Hash::new().text("a").text("bc").whole());
    }
}
