//! The door through which the comparison of encodings measures the two forms of a set, and the
//! parts it builds the candidates that lost from.

pub(crate) use super::bits::{BitWriter, Reader, bit_len, bits_at, write_varint};
use super::fano::{self, Fano};
use super::set::{self, SetForm, SetView};

/// One of the forms the engine has.
#[derive(Clone, Copy)]
pub(crate) struct EngineSet {
    form: SetForm,
}

impl EngineSet {
    pub(crate) const PACKED: EngineSet = EngineSet { form: SetForm::Packed };
    pub(crate) const ROARING: EngineSet = EngineSet { form: SetForm::Roaring };

    pub(crate) fn encode(self, ids: &[u32], out: &mut Vec<u8>) {
        set::encode(self.form, ids, out);
    }

    pub(crate) fn decode(self, len: u32, bytes: &[u8], ids: &mut Vec<u32>) {
        self.view(len, bytes).decode_into(len, ids);
    }

    pub(crate) fn contains(self, len: u32, bytes: &[u8], id: u32) -> bool {
        self.view(len, bytes).contains(id)
    }

    fn view(self, len: u32, bytes: &[u8]) -> SetView<'_> {
        let view = SetView::parse(self.form, len, &mut Reader::new(bytes));
        view.expect("only what was encoded is measured")
    }
}

/// One Elias-Fano run of any length, which the engine cuts into blocks.
pub(crate) struct EliasFano {
    pub(crate) count: u32,
    pub(crate) span: u64,
}

impl EliasFano {
    pub(crate) fn encode(&self, value: impl Fn(u32) -> u64, out: &mut Vec<u8>) {
        fano::encode(self.count, self.span, value, out);
    }

    pub(crate) fn for_each(&self, bytes: &[u8], visit: impl FnMut(u64)) {
        Fano::new(bytes, self.count, self.span).for_each(visit);
    }

    pub(crate) fn contains(&self, bytes: &[u8], value: u64) -> bool {
        Fano::new(bytes, self.count, self.span).contains(value)
    }
}
