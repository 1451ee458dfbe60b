//! How values are written down: numbers as varints, texts and bytes with their length, variants by a number.

use bytes::{BufMut, Bytes, BytesMut};
use pelago_model::IslandClock;
use pelago_wire::Malformed;
use pelago_wire::varint::{Reader, put_svarint, put_varint};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A value that can be written down and read again. Reading is total: any bytes become a value or [`Malformed`].
pub(super) trait Code: Sized {
    /// Appends it.
    fn put(&self, out: &mut BytesMut);

    /// Reads it. The clock is the island's, which frames are relative to.
    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed>;
}

/// Variants of an enum, each with the number that stands for it. A variant that is forgotten here does not compile.
macro_rules! coded_enum {
    ($type:ty { $($tag:literal => $variant:ident $(($($inner:ident),*))? $({$($field:ident),*})?,)* }) => {
        impl Code for $type {
            fn put(&self, out: &mut BytesMut) {
                match self {
                    $(Self::$variant $(($($inner),*))? $({$($field),*})? => {
                        out.put_u8($tag);
                        $($($inner.put(out);)*)?
                        $($($field.put(out);)*)?
                    })*
                }
            }

            #[allow(unused_variables, reason = "some enums hold nothing")]
            fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
                Ok(match from.u8()? {
                    $($tag => {
                        $($(let $inner = Code::take(from, clock)?;)*)?
                        $($(let $field = Code::take(from, clock)?;)*)?
                        Self::$variant $(($($inner),*))? $({$($field),*})?
                    })*
                    _ => return Err(Malformed::UnknownRecord),
                })
            }
        }
    };
}

/// The fields of a struct, in order. A field that is forgotten here does not compile.
macro_rules! coded_struct {
    ($type:ident { $($field:ident),* }) => {
        impl Code for $type {
            fn put(&self, out: &mut BytesMut) {
                let Self { $($field),* } = self;
                $($field.put(out);)*
            }

            fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
                $(let $field = Code::take(from, clock)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}

/// A type that only gives a number a meaning.
macro_rules! coded_newtype {
    ($($type:ident),*) => {
        $(impl Code for $type {
            fn put(&self, out: &mut BytesMut) {
                self.0.put(out);
            }

            fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
                Code::take(from, clock).map(Self)
            }
        })*
    };
}

pub(super) use {coded_enum, coded_newtype, coded_struct};

macro_rules! coded_number {
    ($($type:ty),*) => {
        $(impl Code for $type {
            fn put(&self, out: &mut BytesMut) {
                put_varint(out, u64::from(*self));
            }

            fn take(from: &mut Reader<'_>, _: &IslandClock) -> Result<Self, Malformed> {
                from.number()
            }
        })*
    };
}

coded_number!(u8, u16, u32, u64);

impl Code for i64 {
    fn put(&self, out: &mut BytesMut) {
        put_svarint(out, *self);
    }

    fn take(from: &mut Reader<'_>, _: &IslandClock) -> Result<Self, Malformed> {
        from.svarint()
    }
}

impl Code for i32 {
    fn put(&self, out: &mut BytesMut) {
        put_svarint(out, i64::from(*self));
    }

    fn take(from: &mut Reader<'_>, _: &IslandClock) -> Result<Self, Malformed> {
        from.signed()
    }
}

impl Code for i16 {
    fn put(&self, out: &mut BytesMut) {
        put_svarint(out, i64::from(*self));
    }

    fn take(from: &mut Reader<'_>, _: &IslandClock) -> Result<Self, Malformed> {
        Self::try_from(from.signed()?).map_err(|_| Malformed::OutOfRange)
    }
}

impl Code for bool {
    fn put(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }

    fn take(from: &mut Reader<'_>, _: &IslandClock) -> Result<Self, Malformed> {
        match from.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::OutOfRange),
        }
    }
}

impl Code for Bytes {
    fn put(&self, out: &mut BytesMut) {
        put_bytes(out, self);
    }

    fn take(from: &mut Reader<'_>, _: &IslandClock) -> Result<Self, Malformed> {
        from.prefixed(usize::MAX)
    }
}

impl Code for String {
    fn put(&self, out: &mut BytesMut) {
        put_bytes(out, self.as_bytes());
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        Self::from_utf8(Bytes::take(from, clock)?.to_vec()).map_err(|_| Malformed::Text)
    }
}

impl Code for Arc<str> {
    fn put(&self, out: &mut BytesMut) {
        put_bytes(out, self.as_bytes());
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        String::take(from, clock).map(Self::from)
    }
}

impl Code for [u8; 32] {
    fn put(&self, out: &mut BytesMut) {
        out.put_slice(self);
    }

    fn take(from: &mut Reader<'_>, _: &IslandClock) -> Result<Self, Malformed> {
        from.bytes(32)?.as_ref().try_into().map_err(|_| Malformed::Truncated)
    }
}

impl<T: Code> Code for Option<T> {
    fn put(&self, out: &mut BytesMut) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        bool::take(from, clock)?.then(|| T::take(from, clock)).transpose()
    }
}

impl<T: Code, E: Code> Code for Result<T, E> {
    fn put(&self, out: &mut BytesMut) {
        self.is_ok().put(out);
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        Ok(match bool::take(from, clock)? {
            true => Ok(T::take(from, clock)?),
            false => Err(E::take(from, clock)?),
        })
    }
}

impl<T: Code> Code for Vec<T> {
    fn put(&self, out: &mut BytesMut) {
        put_varint(out, self.len() as u64);
        self.iter().for_each(|value| value.put(out));
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        let count: usize = from.number()?;
        // Every value takes a byte at least; nothing is reserved for what the bytes may not hold.
        (0..count).map(|_| T::take(from, clock)).collect()
    }
}

impl<T: Code + Ord> Code for BTreeSet<T> {
    fn put(&self, out: &mut BytesMut) {
        put_varint(out, self.len() as u64);
        self.iter().for_each(|value| value.put(out));
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        Vec::take(from, clock).map(|values| values.into_iter().collect())
    }
}

impl<T: Code> Code for Box<T> {
    fn put(&self, out: &mut BytesMut) {
        (**self).put(out);
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        T::take(from, clock).map(Self::new)
    }
}

impl<T: Code> Code for Arc<T> {
    fn put(&self, out: &mut BytesMut) {
        (**self).put(out);
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        T::take(from, clock).map(Self::new)
    }
}

impl<A: Code, B: Code> Code for (A, B) {
    fn put(&self, out: &mut BytesMut) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut Reader<'_>, clock: &IslandClock) -> Result<Self, Malformed> {
        Ok((A::take(from, clock)?, B::take(from, clock)?))
    }
}

/// Appends bytes with their length.
pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}
