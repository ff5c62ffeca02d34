//! The inputs, one after the other, in blocks.

use std::{collections::VecDeque, sync::PoisonError};

use camino::Utf8PathBuf;
use fhirvest_jobs::flatten::Block;
use fhirvest_lake::{LakeError, input::Input};
use indicatif::ProgressBar;

use super::{
    quarantine::{Files, Quarantine},
    sink::SinkError,
};
use crate::failure::Failure;

/// Files whose mistakes are kept in words; the others are only counted.
const BROKEN_KEPT: usize = 5;

pub(super) struct Reader<'q> {
    inputs: VecDeque<Utf8PathBuf>,
    open: Option<(Input, usize)>,
    line: u64,
    read: u64,
    bar: ProgressBar,
    /// The files begun: what a block's `input` counts.
    files: Files,
    quarantine: &'q Quarantine,
    /// Documents that are no JSON.
    pub(super) broken: u64,
    /// What is wrong with the first of them.
    pub(super) reasons: Vec<String>,
}

impl<'q> Reader<'q> {
    pub(super) fn open(
        inputs: &[Utf8PathBuf],
        bar: ProgressBar,
        files: Files,
        quarantine: &'q Quarantine,
    ) -> Result<Self, Failure> {
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
            files,
            quarantine,
            broken: 0,
            reasons: Vec::new(),
        })
    }

    /// The name of a file begun.
    pub(super) fn file(&self, number: usize) -> Utf8PathBuf {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(number).cloned().unwrap_or_default()
    }

    /// The next block, in the memory that is given.
    pub(super) fn next(&mut self, mut bytes: Vec<u8>) -> Result<Option<Block>, SinkError> {
        loop {
            let (input, seen) = match &mut self.open {
                Some(open) => open,
                closed => {
                    let Some(path) = self.inputs.pop_front() else { return Ok(None) };
                    closed.insert((Input::open(&path)?, 0))
                }
            };
            match input.next_block(&mut bytes) {
                Ok(true) => {}
                Ok(false) => {
                    self.open = None;
                    continue;
                }
                // One broken document among many costs itself only.
                Err(LakeError::NotJson { path, source }) => {
                    self.broken += 1;
                    self.quarantine.document(&path, source.line() as u64, &source.to_string())?;
                    if self.reasons.len() < BROKEN_KEPT {
                        self.reasons.push(format!("{path}:{}: no JSON document: {source}", source.line()));
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            let (file, number) = input.file();
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            if number != *seen {
                *seen = number;
                files.push(file.to_owned());
                self.line = 0;
            }
            let input = files.len().saturating_sub(1);
            drop(files);
            self.read += bytes.len() as u64;
            let block = Block::new(bytes, self.line, input);
            self.line += block.lines();
            self.bar.set_position(self.read);
            return Ok(Some(block));
        }
    }
}
