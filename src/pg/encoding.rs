//! Text in the server's encoding, and in Rust's: the one place where it comes and goes.
//!
//! In a UTF8 database the two are the same, and ASCII is the same everywhere (src/include/mb/pg_wchar.h: no
//! server encoding has an ASCII byte inside of a longer character). Elsewhere text is converted. In SQL_ASCII,
//! where no byte beyond ASCII says what it means, it is taken for UTF-8 as far as it is. A byte that is no
//! character is carried as one that nobody uses, so that a name comes back to the server as it was.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::{CStr, CString};

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, FromDatum, IntoDatum, UnboxDatum};
use pgrx::nullable::Nullable;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use super::version::server;

const UTF8: i32 = pg_sys::pg_enc::PG_UTF8 as i32;
/// A byte that is no character: this much further on, in the private use area.
const CARRIED: u32 = 0xf700;
/// How much longer a character may become (MAX_CONVERSION_GROWTH of src/include/mb/pg_wchar.h).
const MOST_GROWTH: usize = 4;

/// Whether text is the same in the server's encoding as here.
pub(crate) fn is_utf8() -> bool {
    server::GetDatabaseEncoding() == UTF8
}

/// The server's functions for both directions, kept as it keeps those for the client's encoding (src/backend/
/// utils/mb/mbutils.c): they can be called outside of a transaction, where they cannot be looked up.
#[derive(Clone, Copy)]
struct Conversions {
    encoding: i32,
    to_utf8: *mut pg_sys::FmgrInfo,
    from_utf8: *mut pg_sys::FmgrInfo,
}

thread_local! {
    static CONVERSIONS: Cell<Option<Conversions>> = const { Cell::new(None) };
}

/// Looks up how to convert, in a transaction and before something has failed in it. None: the encoding is one
/// without characters, or nobody has looked it up yet.
fn conversions() -> Option<Conversions> {
    if let Some(known) = CONVERSIONS.get() {
        return Some(known);
    }
    let encoding = server::GetDatabaseEncoding();
    // SAFETY: reads the state of the transaction.
    let can_look = unsafe { pg_sys::IsTransactionState() };
    if encoding == UTF8 || encoding == pg_sys::pg_enc::PG_SQL_ASCII as i32 || !can_look {
        return None;
    }
    // SAFETY: a look-up in a transaction; in pg_catalog, not in whatever the search_path has before that. What
    // is found lives as long as the process.
    let found = unsafe {
        let find = |from, to| {
            let catalog = pg_sys::Oid::from(pg_sys::PG_CATALOG_NAMESPACE);
            let function = pg_sys::ffi::pg_guard_ffi_boundary(|| {
                server::FindDefaultConversion(catalog, from, to)
            });
            (function != pg_sys::InvalidOid).then(|| {
                let size = size_of::<pg_sys::FmgrInfo>();
                let kept = pg_sys::MemoryContextAllocZero(pg_sys::TopMemoryContext, size);
                let kept = kept.cast::<pg_sys::FmgrInfo>();
                pg_sys::fmgr_info_cxt(function, kept, pg_sys::TopMemoryContext);
                kept
            })
        };
        let (to_utf8, from_utf8) = (find(encoding, UTF8)?, find(UTF8, encoding)?);
        Conversions { encoding, to_utf8, from_utf8 }
    };
    CONVERSIONS.set(Some(found));
    Some(found)
}

/// To be called in a transaction before anything can fail in it: afterwards nothing can be looked up.
pub(super) fn prepare() {
    if !is_utf8() {
        conversions();
    }
}

/// Has what this process sends, for another one of ours to read, in the database's encoding, whatever
/// client_encoding the database's clients are given (as src/backend/access/transam/parallel.c does).
pub(super) fn send_as_it_is() {
    // SAFETY: connected to a database; one that cannot be set stays as it was.
    unsafe { pg_sys::SetClientEncoding(server::GetDatabaseEncoding()) };
}

/// Converts as much as can be; gives that, and how many bytes of the text it was.
fn convert(function: *mut pg_sys::FmgrInfo, from: i32, to: i32, text: &[u8]) -> (Vec<u8>, usize) {
    let mut source = text.to_vec();
    source.push(0);
    let mut converted = vec![0_u8; text.len() * MOST_GROWTH + 1];
    // SAFETY: a conversion function as CREATE CONVERSION documents it; it ends what it writes with a zero byte,
    // and with `no_error` stops before what it cannot convert. Both buffers live through the call.
    let taken = unsafe {
        pg_sys::FunctionCall6Coll(
            function,
            pg_sys::InvalidOid,
            pg_sys::Datum::from(from),
            pg_sys::Datum::from(to),
            pg_sys::Datum::from(source.as_ptr()),
            pg_sys::Datum::from(converted.as_mut_ptr()),
            pg_sys::Datum::from(text.len() as i32),
            pg_sys::Datum::from(true),
        )
    };
    let end = converted.iter().position(|byte| *byte == 0).unwrap_or(0);
    converted.truncate(end);
    (converted, (taken.value() as i32).clamp(0, text.len() as i32) as usize)
}

/// A byte of the server's as a character of its own.
fn carry(byte: u8) -> char {
    match byte {
        0..0x80 => char::from(byte),
        _ => char::from_u32(CARRIED + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

/// What [`carry`] has made of a byte beyond ASCII.
fn carried(character: char) -> Option<u8> {
    let byte = u32::from(character).checked_sub(CARRIED)?;
    u8::try_from(byte).ok().filter(|byte| *byte >= 0x80)
}

/// Text of the server's.
pub(crate) fn decode(bytes: &[u8]) -> String {
    if is_utf8() || bytes.is_ascii() {
        // The server has made sure of it, but for names that were given in another database.
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let Some(Conversions { encoding, to_utf8, .. }) = conversions() else {
        return carrying(bytes);
    };
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let (converted, taken) = convert(to_utf8, encoding, UTF8, rest);
        text.push_str(&String::from_utf8_lossy(&converted));
        if taken == 0 {
            text.push(carry(*first));
        }
        rest = &rest[taken.max(1)..];
    }
    text
}

/// Text of no encoding: UTF-8 where it is that, else bytes.
fn carrying(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        // A letter that looks like a byte that is carried would come back as that.
        match chunk.valid().contains(|c| carried(c).is_some()) {
            true => text.extend(chunk.valid().bytes().map(carry)),
            false => text.push_str(chunk.valid()),
        }
        text.extend(chunk.invalid().iter().copied().map(carry));
    }
    text
}

/// The same of a C string.
pub(crate) fn decode_name(text: &CStr) -> String {
    decode(text.to_bytes())
}

/// Text for the server. What its encoding has no character for is a question mark: but our own words are
/// ASCII, and all else has come from there.
pub(crate) fn encode(text: &str) -> Cow<'_, [u8]> {
    if is_utf8() || text.is_ascii() {
        return Cow::Borrowed(text.as_bytes());
    }
    let conversions = conversions();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| carried(c).is_some()).unwrap_or(rest.len());
        let plain = &rest.as_bytes()[..end];
        let (converted, taken) = match conversions {
            Some(Conversions { encoding, from_utf8, .. }) if end > 0 => {
                convert(from_utf8, UTF8, encoding, plain)
            }
            _ => (plain.to_vec(), end),
        };
        bytes.extend_from_slice(&converted);
        if taken == 0 {
            bytes.push(carried(first).unwrap_or(b'?'));
        }
        rest = &rest[if taken == 0 { first.len_utf8() } else { taken }..];
    }
    Cow::Owned(bytes)
}

/// The same as a C string, which ends at a zero byte.
pub(crate) fn encode_name(text: &str) -> CString {
    let mut bytes = encode(text).into_owned();
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    CString::new(bytes).unwrap_or_default()
}

/// How many bytes a character takes in a name of the server's, which is cut between characters.
pub(crate) fn bytes_of(character: char) -> usize {
    match character.is_ascii() || is_utf8() {
        true => character.len_utf8(),
        false => encode(character.encode_utf8(&mut [0; 4])).len(),
    }
}

/// A value of type text, on its way between SQL and us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromDatum for Text {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        // A text is laid out as a bytea is.
        // SAFETY: the caller vouches for the datum; the bytes are copied before it goes.
        let bytes = unsafe { <&[u8]>::from_polymorphic_datum(datum, is_null, type_oid) }?;
        Some(Self(decode(bytes)))
    }
}

impl IntoDatum for Text {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        encode(&self.0).as_ref().into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TEXTOID
    }

    fn is_compatible_with(other: pg_sys::Oid) -> bool {
        String::is_compatible_with(other)
    }
}

// SAFETY: what is unboxed is a copy.
unsafe impl UnboxDatum for Text {
    type As<'src> = Self;

    unsafe fn unbox<'src>(datum: Datum<'src>) -> Self
    where
        Self: 'src,
    {
        // SAFETY: the caller vouches for a value of the type that is not NULL.
        unsafe { Self::from_datum(datum.sans_lifetime(), false) }.unwrap_or_else(|| "".into())
    }
}

// SAFETY: as pgrx has it for String.
unsafe impl<'fcx> ArgAbi<'fcx> for Text {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller vouches for an argument of type text.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or_else(|| "".into())
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: as above.
        unsafe { arg.unbox_arg_using_from_datum::<Self>() }.into()
    }
}

// SAFETY: as pgrx has it for String.
unsafe impl BoxRet for Text {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: a value of type text, in the current memory context.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

// SAFETY: it is the type text.
unsafe impl SqlTranslatable for Text {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Text);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("TEXT"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("TEXT")));
}
