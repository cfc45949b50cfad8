//! Arrays in `.npy` and IDX files: their heads, and their elements.

use anyhow::{Context, Result, bail, ensure};
use ndarray::ArrayD;
use ndarray_npy::{ReadNpyExt, ReadableElement};

use super::scale::Kind;

/// What an array's file says of it.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Lengths of its axes.
    pub shape: Vec<usize>,
    /// As numpy writes it, such as `<f4`.
    pub element: String,
    /// Bytes before the elements, of an IDX file; ndarray-npy reads its own.
    offset: usize,
}

/// Reads the head of an `.npy` or IDX file.
///
/// # Errors
/// When it is broken.
pub fn head(bytes: &[u8]) -> Result<Head> {
    if bytes.starts_with(b"\x93NUMPY") { npy_head(bytes) } else { idx_head(bytes) }
}

fn npy_head(bytes: &[u8]) -> Result<Head> {
    let broken = "broken: the head of the .npy file";
    let length = match bytes.get(6).context(broken)? {
        1 => u16::from_le_bytes([*bytes.get(8).context(broken)?, *bytes.get(9).context(broken)?]).into(),
        _ => u32::from_le_bytes(bytes.get(8..12).context(broken)?.try_into()?) as usize,
    };
    let start = if bytes[6] == 1 { 10 } else { 12 };
    let text = String::from_utf8_lossy(bytes.get(start..start + length).context(broken)?);
    let after = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    let element = after("descr").context(broken)?;
    let element = match element.strip_prefix('\'') {
        Some(rest) => rest.split('\'').next().unwrap_or_default().to_string(),
        None => "a structure".to_string(),
    };
    let shape = after("shape").and_then(|text| text.split_once('(')?.1.split_once(')')).context(broken)?.0;
    let lengths = shape.split(',').map(str::trim).filter(|text| !text.is_empty());
    let shape = lengths.map(|text| text.parse().ok()).collect::<Option<_>>().context(broken)?;
    Ok(Head { shape, element, offset: 0 })
}

fn idx_head(bytes: &[u8]) -> Result<Head> {
    let &[0, 0, kind, axes, ref rest @ ..] = bytes else { bail!("not an IDX file") };
    let element = match kind {
        0x08 => "|u1",
        0x09 => "|i1",
        0x0b => ">i2",
        0x0c => ">i4",
        0x0d => ">f4",
        0x0e => ">f8",
        other => bail!("not an IDX file: elements of kind {other}"),
    };
    let lengths = rest.get(..4 * usize::from(axes)).context("not an IDX file: it ends in its head")?;
    let shape = lengths.as_chunks().0.iter().map(|&length| u32::from_be_bytes(length) as usize).collect();
    Ok(Head { shape, element: element.into(), offset: 4 + 4 * usize::from(axes) })
}

/// An array's elements.
pub enum Values {
    /// Bytes, which are taken as they are.
    Bytes(Vec<u8>),
    /// Others.
    Numbers(Vec<f32>, Kind),
}

/// Reads the elements of pictures.
///
/// # Errors
/// When the file is broken or holds what is no number.
pub fn values(bytes: &[u8]) -> Result<Values> {
    let head = head(bytes)?;
    Ok(match head.element.trim_start_matches(['<', '>', '|', '=']) {
        "u1" if head.offset > 0 => Values::Bytes(body(bytes, &head, 1)?.to_vec()),
        "u1" => Values::Bytes(elements::<u8>(bytes)?.collect()),
        "b1" => {
            Values::Numbers(elements::<bool>(bytes)?.map(|value| f32::from(u8::from(value))).collect(), Kind::Truth)
        }
        "f4" | "f8" => Values::Numbers(numbers(bytes, &head, |value| value as f32)?, Kind::Real),
        _ => Values::Numbers(numbers(bytes, &head, |value| value as f32)?, Kind::Whole),
    })
}

/// Reads the elements of labels.
///
/// # Errors
/// When the file is broken or holds what is no whole number.
pub fn labels(bytes: &[u8]) -> Result<Vec<i64>> {
    let head = head(bytes)?;
    if head.element.contains(['U', 'S', 'O']) {
        bail!("labels of text; give numbers, and the names of the classes with --labels");
    }
    let values = numbers(bytes, &head, |value| value)?;
    let label = |(i, &value): (usize, &f64)| {
        ensure!(value.fract() == 0.0 && value.abs() < 9e15, "label {i} is {value}, no number of a class");
        ensure!(value >= 0.0, "label {i} is {value}, a negative label; numbers of classes begin at 0");
        Ok(value as i64)
    };
    values.iter().enumerate().map(label).collect()
}

/// The elements of an IDX file, of `size` bytes each.
fn body<'a>(bytes: &'a [u8], head: &Head, size: usize) -> Result<&'a [u8]> {
    let body = &bytes[head.offset..];
    let wanted = head.shape.iter().try_fold(size, |product, &n| product.checked_mul(n));
    ensure!(Some(body.len()) == wanted, "broken: {} bytes for a shape of {:?}", body.len(), head.shape);
    Ok(body)
}

/// The elements in the order of the axes, whatever their order in the file.
fn elements<T: ReadableElement>(bytes: &[u8]) -> Result<impl Iterator<Item = T>> {
    Ok(ArrayD::<T>::read_npy(bytes).map_err(|error| anyhow::anyhow!("broken: {error}"))?.into_iter())
}

fn numbers<T>(bytes: &[u8], head: &Head, convert: impl Fn(f64) -> T) -> Result<Vec<T>> {
    let kind = head.element.trim_start_matches(['<', '>', '|', '=']);
    if head.offset > 0 {
        return idx_numbers(bytes, head, kind, convert);
    }
    Ok(match kind {
        "b1" => elements::<bool>(bytes)?.map(|value| convert(u8::from(value).into())).collect(),
        "u1" => elements::<u8>(bytes)?.map(|value| convert(value.into())).collect(),
        "i1" => elements::<i8>(bytes)?.map(|value| convert(value.into())).collect(),
        "u2" => elements::<u16>(bytes)?.map(|value| convert(value.into())).collect(),
        "i2" => elements::<i16>(bytes)?.map(|value| convert(value.into())).collect(),
        "u4" => elements::<u32>(bytes)?.map(|value| convert(value.into())).collect(),
        "i4" => elements::<i32>(bytes)?.map(|value| convert(value.into())).collect(),
        "u8" => elements::<u64>(bytes)?.map(|value| convert(value as f64)).collect(),
        "i8" => elements::<i64>(bytes)?.map(|value| convert(value as f64)).collect(),
        "f4" => elements::<f32>(bytes)?.map(|value| convert(value.into())).collect(),
        "f8" => elements::<f64>(bytes)?.map(convert).collect(),
        _ => bail!("elements of {}; save it as uint8 or float32: array.astype(\"uint8\")", head.element),
    })
}

fn idx_numbers<T>(bytes: &[u8], head: &Head, kind: &str, convert: impl Fn(f64) -> T) -> Result<Vec<T>> {
    fn all<const N: usize>(body: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        body.as_chunks::<N>().0.iter().map(|&bytes| read(bytes)).collect()
    }
    let size = usize::from(kind.as_bytes()[1] - b'0');
    let body = body(bytes, head, size)?;
    let values = match kind {
        "u1" => all(body, |[byte]: [u8; 1]| byte.into()),
        "i1" => all(body, |byte| i8::from_be_bytes(byte).into()),
        "i2" => all(body, |bytes| i16::from_be_bytes(bytes).into()),
        "i4" => all(body, |bytes| i32::from_be_bytes(bytes).into()),
        "f4" => all(body, |bytes| f32::from_be_bytes(bytes).into()),
        _ => all(body, f64::from_be_bytes),
    };
    Ok(values.into_iter().map(convert).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_what_follows() {
        let mut bytes = Vec::new();
        ndarray_npy::WriteNpyExt::write_npy(&ndarray::Array3::<f32>::zeros((2, 3, 4)), &mut bytes).unwrap();
        let head = head(&bytes).unwrap();
        assert_eq!((head.shape, head.element.as_str()), (vec![2, 3, 4], "<f4"));
        for length in 0..bytes.len() {
            assert!(values(&bytes[..length]).is_err(), "{length}");
        }
        let idx = [0, 0, 0x0b, 1, 0, 0, 0, 2, 0, 5, 1, 0];
        assert_eq!(labels(&idx).unwrap(), [5, 256]);
        for length in 0..idx.len() {
            assert!(labels(&idx[..length]).is_err(), "{length}");
        }
    }
}
