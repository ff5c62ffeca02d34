//! The inputs, one after the other, in blocks.

use std::collections::VecDeque;

use camino::Utf8PathBuf;
use fhirvest_jobs::flatten::Block;
use fhirvest_lake::{LakeError, input::Input};
use indicatif::ProgressBar;

use super::sink::SinkError;
use crate::failure::Failure;

/// Files whose mistakes are kept in words; the others are only counted.
const BROKEN_KEPT: usize = 5;

pub(super) struct Reader {
    inputs: VecDeque<Utf8PathBuf>,
    open: Option<(Input, usize)>,
    line: u64,
    read: u64,
    bar: ProgressBar,
    /// The files begun: what a block's `input` counts.
    pub(super) files: Vec<Utf8PathBuf>,
    /// Documents that are no JSON.
    pub(super) broken: u64,
    /// What is wrong with the first of them.
    pub(super) reasons: Vec<String>,
}

impl Reader {
    pub(super) fn open(inputs: &[Utf8PathBuf], bar: ProgressBar) -> Result<Self, Failure> {
        for path in inputs {
            if !fhirvest_lake::input::exists(path) {
                return Err(Failure::usage(format!("the input {path} is not there")));
            }
        }
        Ok(Self {
            inputs: inputs.to_vec().into(),
            open: None,
            line: 0,
            read: 0,
            bar,
            files: Vec::new(),
            broken: 0,
            reasons: Vec::new(),
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<Block>, SinkError> {
        loop {
            let (input, seen) = match &mut self.open {
                Some(open) => open,
                closed => {
                    let Some(path) = self.inputs.pop_front() else { return Ok(None) };
                    closed.insert((Input::open(&path)?, 0))
                }
            };
            let mut bytes = Vec::new();
            match input.next_block(&mut bytes) {
                Ok(true) => {}
                Ok(false) => {
                    self.open = None;
                    continue;
                }
                // One broken document among many costs itself only.
                Err(LakeError::NotJson { path, source }) => {
                    self.broken += 1;
                    if self.reasons.len() < BROKEN_KEPT {
                        self.reasons.push(format!("{path}:{}: no JSON document: {source}", source.line()));
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            let (file, number) = input.file();
            if number != *seen {
                *seen = number;
                self.files.push(file.to_owned());
                self.line = 0;
            }
            let block =
                Block { bytes, first_line: self.line, skip: Vec::new(), input: self.files.len().saturating_sub(1) };
            self.line += block.lines();
            self.read += block.bytes.len() as u64;
            self.bar.set_position(self.read);
            return Ok(Some(block));
        }
    }
}
