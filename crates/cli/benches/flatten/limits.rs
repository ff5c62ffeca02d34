//! The parts alone, in memory: what no program built of them can beat.

use std::{fs, fs::File, path::Path, time::Instant};

use arrow::record_batch::RecordBatch;
use fhirvest_flattener::{Plan, parse_view};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use serde::de::IgnoredAny;

use crate::{RUNS, data::Data, median};

/// Bytes of resources that are held in memory for this.
const SAMPLE: usize = 64 << 20;

fn line(what: &str, bytes: usize, mut run: impl FnMut()) {
    let seconds = median((0..RUNS).map(|_| {
        let begin = Instant::now();
        run();
        begin.elapsed().as_secs_f64()
    }));
    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    let rate = bytes as f64 / 1e6 / seconds;
    println!("{what:<58} {rate:>7.0} MB/s");
}

pub(crate) fn show(data: &Data, written: &Path) {
    let text = fs::read_to_string(&data.roles).unwrap();
    let text = &text[..text[..SAMPLE.min(text.len())].rfind('\n').unwrap()];
    line("serde_json that keeps nothing (IgnoredAny), of JSON", text.len(), || {
        for resource in text.lines() {
            std::hint::black_box(serde_json::from_str::<IgnoredAny>(resource).unwrap());
        }
    });
    line("serde_json into a tree (Value), of JSON", text.len(), || {
        for resource in text.lines() {
            std::hint::black_box(serde_json::from_str::<serde_json::Value>(resource).unwrap());
        }
    });
    let view = parse_view(include_str!("views/role.json"), "views/role.json").unwrap();
    let mut flattener = Plan::compile(&[view]).unwrap().flattener();
    line("our view into record batches, of JSON", text.len(), || {
        for (number, resource) in text.lines().enumerate() {
            flattener.push(resource).unwrap();
            if number % 512 == 511 {
                std::hint::black_box(flattener.flush().unwrap());
            }
        }
        flattener.flush().unwrap();
    });
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(written).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let bytes = batches.iter().map(RecordBatch::get_array_memory_size).sum();
    line("the Parquet writer alone, of Arrow, zstd-1", bytes, || {
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap())).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        std::hint::black_box(writer.into_inner().unwrap());
    });
}
