use fastattention::ErrorKind;

use super::{ElementType, Gguf, Value};

/// A file that grows.
struct File(Vec<u8>);

impl File {
    fn new(tensors: u64, entries: u64) -> Self {
        let mut file = Self(b"GGUF".to_vec());
        file.number(3u32.to_le_bytes());
        file.number(tensors.to_le_bytes());
        file.number(entries.to_le_bytes());
        file
    }

    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.0.extend(bytes);
    }

    fn string(&mut self, text: &str) {
        self.number((text.len() as u64).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.string(key);
        self.number(kind.to_le_bytes());
        self.0.extend(value);
    }

    fn info(&mut self, name: &str, shape: &[u64], kind: u32, offset: u64) {
        self.string(name);
        self.number(u32::try_from(shape.len()).unwrap().to_le_bytes());
        shape.iter().for_each(|extent| self.number(extent.to_le_bytes()));
        self.number(kind.to_le_bytes());
        self.number(offset.to_le_bytes());
    }
}

/// A small file with a value of each type and two tensors.
fn small() -> Vec<u8> {
    let mut file = File::new(2, 7);
    file.entry("general.alignment", 4, &64u32.to_le_bytes());
    file.entry("a.u8", 0, &[200]);
    file.entry("a.i64", 11, &(-5i64).to_le_bytes());
    file.entry("a.f32", 6, &1.5f32.to_le_bytes());
    file.entry("a.bool", 7, &[1]);
    let mut text = 3u64.to_le_bytes().to_vec();
    text.extend(b"abc");
    file.entry("a.text", 8, &text);
    let mut array = 8u32.to_le_bytes().to_vec();
    array.extend(2u64.to_le_bytes());
    array.extend(&text);
    array.extend(0u64.to_le_bytes());
    file.entry("a.texts", 9, &array);
    file.info("x", &[2, 3], 0, 0);
    file.info("y", &[32], 8, 64);
    file.0.resize(file.0.len().next_multiple_of(64), 0);
    file.0.extend((1..=6u8).flat_map(|i| f32::from(i).to_le_bytes()));
    file.0.resize(file.0.len() + 40, 0);
    file.0.extend([0, 0x3c]);
    file.0.extend(0..32);
    file.0
}

#[test]
fn a_file_is_read() {
    let bytes = small();
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(gguf.value("a.u8").unwrap().to_u64(), Some(200));
    assert_eq!(gguf.value("a.i64").unwrap(), Value::I64(-5));
    assert_eq!(gguf.value("a.i64").unwrap().to_u64(), None);
    assert_eq!(gguf.value("a.f32").unwrap().to_f64(), Some(1.5));
    assert_eq!(gguf.value("a.bool").unwrap().to_bool(), Some(true));
    assert_eq!(gguf.value("a.text").unwrap().to_str(), Some("abc"));
    assert_eq!(gguf.value("a.texts").unwrap().to_array().unwrap().strings().unwrap(), ["abc", ""]);
    let x = gguf.tensor("x").unwrap();
    assert_eq!((x.shape.as_slice(), x.element), (&[3, 2][..], ElementType::F32));
    assert_eq!(x.to_f32(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(gguf.tensor("y").unwrap().to_f32(), (0..32u8).map(f32::from).collect::<Vec<_>>());
    let mut names: Vec<_> = gguf.names().collect();
    names.sort_unstable();
    assert_eq!(names, ["x", "y"]);
    assert!(gguf.value("b").unwrap_err().to_string().contains("no \"b\""));
}

/// Reads all of a file that may be wrong. The allocator of the test does not end the process for too much.
fn read(bytes: &[u8]) -> Result<usize, ErrorKind> {
    let gguf = Gguf::parse(bytes).map_err(|e| e.kind())?;
    let strings = gguf.metadata().values().filter_map(|value| value.to_array());
    let mut seen: usize = strings.map(|array| array.values().count()).sum();
    for name in gguf.names() {
        seen += gguf.tensor(name).unwrap().to_f32().len();
    }
    Ok(seen)
}

#[test]
fn a_file_that_ends_anywhere_is_refused() {
    let bytes = small();
    assert_eq!(read(&bytes), Ok(2 + 6 + 32));
    for len in 0..bytes.len() {
        assert_eq!(read(&bytes[..len]), Err(ErrorKind::Io), "{len} of {} bytes", bytes.len());
    }
}

#[test]
fn every_byte_may_be_wrong() {
    let bytes = small();
    let mut refused = 0;
    for at in 0..bytes.len() {
        for value in 0..=255 {
            let mut wrong = bytes.clone();
            wrong[at] = value;
            refused += usize::from(read(&wrong).is_err());
        }
    }
    assert!(refused > 10_000, "{refused}");
}

/// Every place where a number of 4 or 8 bytes may stand, with numbers that overflow sums and products.
#[test]
fn every_number_may_be_wrong() {
    let bytes = small();
    let numbers = [
        0,
        1,
        2,
        31,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 32,
        1 << 61,
        1 << 63,
        u64::MAX - 7,
        u64::MAX,
    ];
    for at in 0..bytes.len() {
        for number in numbers {
            for len in [4, 8] {
                let mut wrong = bytes.clone();
                let end = (at + len).min(wrong.len());
                wrong[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
                let _ = read(&wrong);
            }
        }
    }
}

#[test]
fn random_bytes_behind_a_right_start_are_no_danger() {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let mut bytes = small();
        let from = rng.usize(4..bytes.len());
        for _ in 0..rng.usize(1..8) {
            let at = rng.usize(from..bytes.len());
            bytes[at] = rng.u8(..);
        }
        bytes.truncate(rng.usize(from..=bytes.len()));
        let _ = read(&bytes);
    }
}

/// What is wrong is named.
#[test]
fn errors_name_the_place() {
    let text = |file: File| Gguf::parse(&file.0).unwrap_err().to_string();
    let with = |entries: u64, fill: &dyn Fn(&mut File)| {
        let mut file = File::new(0, entries);
        fill(&mut file);
        file.0.resize(file.0.len() + 64, 0);
        file
    };
    let twice = with(2, &|file| (0..2).for_each(|_| file.entry("a", 0, &[1])));
    assert_eq!(text(twice), "GGUF: the metadata have \"a\" twice");
    let truth = with(1, &|file| file.entry("a", 7, &[2]));
    assert_eq!(text(truth), "GGUF: a = 2, a truth value: 0 or 1 wanted");
    let kind = with(1, &|file| file.entry("a", 13, &[2]));
    assert_eq!(text(kind), "GGUF: a has type 13, 0 to 12 wanted");
    let nested = with(1, &|file| file.entry("a", 9, &9u32.to_le_bytes()));
    assert_eq!(text(nested), "GGUF: a is an array of arrays, which nothing here reads");
    let alignment = with(1, &|file| file.entry("general.alignment", 4, &48u32.to_le_bytes()));
    assert_eq!(text(alignment), "GGUF: general.alignment = 48, a power of two from 8 on wanted");
    let tensor = |shape: &[u64], kind: u32, offset: u64| {
        let mut file = File::new(1, 0);
        file.info("t", shape, kind, offset);
        file.0.resize(file.0.len().next_multiple_of(32) + 64, 0);
        text(file)
    };
    assert_eq!(tensor(&[8], 0, 4), "GGUF: tensor \"t\" starts at byte 4, a multiple of 32 wanted");
    assert_eq!(
        tensor(&[17], 0, 0),
        "GGUF: tensor \"t\" of shape [17] and type F32 at byte 0 leaves the 64 bytes of data"
    );
    assert_eq!(
        tensor(&[31], 2, 0),
        "GGUF: tensor \"t\" of type Q4_0 has rows of 31 elements, a multiple of 32 wanted"
    );
    assert!(tensor(&[8], 14, 0).contains("has elements of type 14; supported: F32 (0)"));
    assert!(tensor(&[0], 0, 0).contains("an extent of 0, 1 to 2^40 wanted"));
    assert!(tensor(&[1 << 40, 1 << 40, 1 << 40], 0, 0).contains("leaves the 64 bytes"));
}
