//! Compressed inputs: which sort one is, by its first bytes, and what is in it.

mod zip;

use std::io::{self, Read};

use gristmill_core::definition::Compression;

/// A stream that may come from another thread.
pub type Stream = Box<dyn Read + Send>;

/// The most memory for unpacking xz, in KiB: what its highest usual setting takes, four times.
const XZ_KIB_MAX: u32 = 256 * 1024;

/// Sorts that are known and not read here: how one begins, what it is called, and what unpacks it.
const UNREAD: [(&[u8], &str, &str); 8] = [
    (&[0x04, 0x22, 0x4D, 0x18], "lz4", "lz4 -d"),
    (b"LZIP", "lzip", "lzip -d"),
    (&[0x1F, 0x9D], "compress", "uncompress -c"),
    (&[0xFF, 0x06, 0x00, 0x00, b's', b'N', b'a'], "snappy", "snzip -d"),
    (&[0x5D, 0x00, 0x00], "lzma", "xz --format=lzma -dc"),
    (&[b'7', b'z', 0xBC, 0xAF], "7z", "7z x -so"),
    (b"Rar!\x1a", "rar", "unrar p -inul"),
    (b"PAR1", "Parquet", "a program that writes it as CSV or JSON lines"),
];

/// How bzip2 begins, before the digit of its block size; a column may be called `BZh9`.
const BZIP2: &[u8] = b"BZh";

/// What comes after that digit: the mark of a first block, or of the end when there is none.
const BZIP2_BLOCKS: [&[u8]; 2] = [&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];

/// Where a tar archive says that it is one.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// How many first bytes tell everything that is recognised.
pub(super) const HEAD_BYTES: usize = TAR.0 + TAR.1.len();

/// How an input is compressed, by its first bytes.
///
/// # Errors
///
/// For a sort that is not read here: what it is, and what would help.
pub(super) fn recognise(head: &[u8]) -> Result<Compression, String> {
    let known = [
        (&[0x1F, 0x8B][..], Compression::Gzip),
        (&[0x28, 0xB5, 0x2F, 0xFD], Compression::Zstd),
        (&[0xFD, b'7', b'z', b'X', b'Z', 0x00], Compression::Xz),
        (b"PK\x03\x04", Compression::Zip),
    ];
    if let Some((_, found)) = known.into_iter().find(|(mark, _)| head.starts_with(mark)) {
        return Ok(found);
    }
    if is_bzip2(head) {
        return Ok(Compression::Bzip2);
    }
    if head.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1)) {
        return Err(
            "it is a tar archive; take out the file that is meant, such as by `tar -xO -f FILE NAME`".to_owned()
        );
    }
    match UNREAD.into_iter().find(|(mark, ..)| head.starts_with(mark)) {
        None => Ok(Compression::None),
        Some((_, name, help)) => Err(format!(
            "it is compressed with {name}, which is not read here; unpack it first (`{help}`), or use gzip, zstd, xz, bzip2 or zip"
        )),
    }
}

fn is_bzip2(head: &[u8]) -> bool {
    match head.strip_prefix(BZIP2) {
        Some([b'1'..=b'9', blocks @ ..]) => BZIP2_BLOCKS.iter().any(|mark| blocks.starts_with(mark)),
        _ => false,
    }
}

/// What is in a compressed stream.
pub(super) fn unpacked(stream: Stream, packing: Compression) -> io::Result<Stream> {
    Ok(match packing {
        Compression::None => stream,
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(stream)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(stream)?),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(stream, true, XZ_KIB_MAX)),
        // Its blocks are at most 900 kB: it never needs more than a few megabytes.
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(stream)),
        Compression::Zip => Box::new(zip::Zip::open(stream)?),
    })
}

/// The first bytes, or fewer when there are no more.
pub(super) fn head(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    stream.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_called_by_its_name() {
        let mut tar = vec![b'a'; 257];
        tar.extend(b"ustar\0");
        for (head, said) in [
            (&b"\x04\x22\x4d\x18abc"[..], "lz4"),
            (b"7z\xbc\xaf\x27\x1c", "7z"),
            (b"\x1f\x9d\x90", "compress"),
            (b"PAR1", "Parquet"),
            (&tar, "tar archive"),
        ] {
            let problem = recognise(head).expect_err(said);
            assert!(problem.contains(said), "{problem}");
        }
    }

    fn text(bytes: Vec<u8>, packing: Compression) -> io::Result<String> {
        let mut text = String::new();
        unpacked(Box::new(io::Cursor::new(bytes)), packing)?.read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn xz_is_read_to_its_end_and_no_further_than_its_memory_goes() {
        // What Python's `lzma` makes of `n 1` with CRC-64, and of `2` with SHA-256: two streams, as `cat` joins them.
        let whole = "fd377a585a000004e6d6b4460200210116000000742fe5a30100036e0a310a0051fe793cdc5b5e4e00011c046f2c9cc11fb6f3\
                     7d010000000004595afd377a585a00000ae1fb0ca10200210116000000742fe5a3010001320a00000053c234e5e8472b6ac51c\
                     1ae1cab3fe06fad053beb8ebfd8977b010655bfdd3c3000132027680f823189b4b9a01000000000a595a";
        let whole = hex::decode(whole).expect("hexadecimal");
        assert_eq!(recognise(&whole), Ok(Compression::Xz));
        assert_eq!(text(whole.clone(), Compression::Xz).expect("read"), "n\n1\n2\n");
        for length in [whole.len() - 1, 100, 67, 40, 12, 3] {
            text(whole[..length].to_vec(), Compression::Xz).expect_err("it ends early");
        }
        // One byte, for whose unpacking its header asks for 1.5 GiB.
        let greedy = "fd377a585a000004e6d6b44602002101250000003b787b41010000780000000045aeef83f8ee160a00011901a52c81cc1fb6f3\
                      7d010000000004595a";
        text(hex::decode(greedy).expect("hexadecimal"), Compression::Xz).expect_err("too much");
    }

    #[test]
    fn bzip2_is_read_to_its_end() {
        // What Python's `bz2` makes of `n 1`, of nothing and of `2`: three streams, as `cat` joins them.
        let parts = [
            "425a6839314159265359fa118fff000001c900001020000001200030cc0c7a827177245385090fa118fff0",
            "425a683917724538509000000000",
            "425a683931415926535940c27e6e000000c800001010002000210082b17724538509040c27e6e0",
        ];
        let [first, empty, second] = parts.map(|part| hex::decode(part).expect("hexadecimal"));
        let whole = [first.clone(), empty.clone(), second].concat();
        for known in [&whole, &empty] {
            assert_eq!(recognise(known), Ok(Compression::Bzip2));
        }
        assert_eq!(text(whole.clone(), Compression::Bzip2).expect("read"), "n\n1\n2\n");
        assert_eq!(text(empty, Compression::Bzip2).expect("read"), "");
        let ends = [first.len(), first.len() + 14, whole.len()];
        for length in (0..whole.len()).filter(|length| !ends.contains(length)) {
            text(whole[..length].to_vec(), Compression::Bzip2).expect_err("it ends early");
        }
        for rest in [&b"and more"[..], b"\0", b"BZh", b"n\n"] {
            text([&whole, rest].concat(), Compression::Bzip2).expect_err("something follows that is no bzip2");
        }
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 0x10;
            let read = text(other, Compression::Bzip2);
            assert!(read.is_err() || read.is_ok_and(|read| read == "n\n1\n2\n"), "byte {at} made other items");
        }
    }

    #[test]
    fn what_only_begins_alike_is_text() {
        for head in [
            &b"BZh,a\n1,2\n"[..],
            b"BZh9,a\n",
            b"BZh11,BZh12\n",
            b"BZh91AY&\n",
            b"",
            b"P",
            b"PAR,x",
            b"LZI",
            b"id\n1\n",
        ] {
            assert_eq!(recognise(head), Ok(Compression::None), "{head:?}");
        }
        assert_eq!(recognise(b"\xfd7zXZ\0"), Ok(Compression::Xz));
        assert_eq!(recognise(b"PK\x03\x04"), Ok(Compression::Zip));
    }
}
