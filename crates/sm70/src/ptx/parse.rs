//! The frame of a PTX text: directives, kernels, registers, labels. [`super::decode`] knows the instructions.

use std::sync::Arc;

use super::body::{Body, Class, Register};
use super::decode::decode;
use super::lex::{tokens, Token};
use super::operand::{integer, Operand, Statement};
use super::{Kernel, Param, Text};
use crate::fault::Error;
use crate::op::Guard;

struct Parser<'a> {
    tokens: Vec<(Token<'a>, u32)>,
    next: usize,
    files: Vec<(u32, String)>,
    /// `.extern .shared` names: all begin where the block's shared memory does.
    shared: Vec<&'a str>,
}

pub(super) fn kernels(text: &str) -> Result<Vec<Kernel>, Error> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, files: Vec::new(), shared: Vec::new() };
    let mut kernels = Vec::new();
    while !parser.at_end() {
        let line = parser.line();
        match parser.word()? {
            ".version" | ".address_size" => parser.skip(1),
            ".target" => parser.target()?,
            ".file" => parser.file()?,
            ".extern" => parser.extern_shared()?,
            ".visible" | ".weak" => {}
            ".entry" => kernels.push(parser.entry()?),
            other => return Err(Error::unsupported(line, format!("directive {other}"))),
        }
    }
    let lines = text.lines().map(str::to_owned).collect();
    let text = Arc::new(Text { lines, files: parser.files });
    kernels.iter_mut().for_each(|kernel| kernel.text = Arc::clone(&text));
    Ok(kernels)
}

impl<'a> Parser<'a> {
    fn at_end(&self) -> bool {
        self.next >= self.tokens.len()
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(1, |token| token.1)
    }

    fn skip(&mut self, count: usize) {
        self.next += count;
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.next).map(|token| token.0)
    }

    fn take(&mut self) -> Result<Token<'a>, Error> {
        let token = self.peek().ok_or_else(|| Error::invalid(self.line(), "the text ends too early"))?;
        self.next += 1;
        Ok(token)
    }

    fn word(&mut self) -> Result<&'a str, Error> {
        let line = self.line();
        match self.take()? {
            Token::Word(word) => Ok(word),
            other => Err(Error::invalid(line, format_args!("{other:?}, where a word is wanted"))),
        }
    }

    fn take_if(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(Token::Mark(mark));
        self.next += usize::from(found);
        found
    }

    fn mark(&mut self, mark: char) -> Result<(), Error> {
        let line = self.line();
        match self.take()? {
            Token::Mark(found) if found == mark => Ok(()),
            other => Err(Error::invalid(line, format_args!("{other:?}, where {mark:?} is wanted"))),
        }
    }

    fn number(&mut self) -> Result<u32, Error> {
        let line = self.line();
        let word = self.word()?;
        integer(word)
            .and_then(|value| u32::try_from(value).ok())
            .ok_or_else(|| Error::invalid(line, format_args!("{word:?}, where a number is wanted")))
    }

    fn target(&mut self) -> Result<(), Error> {
        let line = self.line();
        match self.word()? {
            "sm_70" | "sm_72" | "sm_75" => Ok(()),
            other => Err(Error::unsupported(line, format!("target {other}"))),
        }
    }

    /// `.file 1 "name"`, perhaps with two numbers after it.
    fn file(&mut self) -> Result<(), Error> {
        let (line, number) = (self.line(), self.number()?);
        let Token::Text(name) = self.take()? else {
            return Err(Error::invalid(line, "a .file without name"));
        };
        self.files.push((number, name.to_owned()));
        while self.take_if(',') {
            self.number()?;
        }
        Ok(())
    }

    /// `.extern .shared .align 16 .b8 name[];`
    fn extern_shared(&mut self) -> Result<(), Error> {
        let line = self.line();
        let words = (self.word()?, self.word()?, self.number()?, self.word()?);
        if words.0 != ".shared" || words.1 != ".align" {
            return Err(Error::unsupported(line, format!(".extern {} {}", words.0, words.1)));
        }
        let name = self.word()?;
        self.shared.push(name);
        self.mark('[')?;
        self.mark(']')?;
        self.mark(';')
    }

    fn entry(&mut self) -> Result<Kernel, Error> {
        let name = self.word()?.to_owned();
        let params = self.params()?;
        let (max_threads, least_blocks) = self.limits()?;
        let mut body = Body::default();
        self.block(&mut body, &params)?;
        let registers = body.registers;
        let code = body.finish(self.line())?;
        let text = Arc::default();
        Ok(Kernel { name, code, params, registers, max_threads, least_blocks, text })
    }

    /// `(.param .u64 name, ...)`: each aligned to its size.
    fn params(&mut self) -> Result<Vec<Param>, Error> {
        let mut params: Vec<Param> = Vec::new();
        if !self.take_if('(') {
            return Ok(params);
        }
        while !self.take_if(')') {
            let (line, directive, kind) = (self.line(), self.word()?, self.word()?);
            let bytes = match kind {
                ".u64" | ".s64" | ".b64" => 8,
                ".u32" | ".s32" | ".b32" | ".f32" => 4,
                _ => return Err(Error::unsupported(line, format!("parameter {directive} {kind}"))),
            };
            let end = params.last().map_or(0, |last| last.offset + last.bytes);
            params.push(Param { name: self.word()?.to_owned(), offset: end.next_multiple_of(bytes), bytes });
            self.take_if(',');
        }
        Ok(params)
    }

    /// `.maxntid 128, 1, 1 .minnctapersm 2`: threads of a block, blocks of a multiprocessor.
    fn limits(&mut self) -> Result<(Option<u32>, Option<u32>), Error> {
        let (mut threads, mut blocks) = (None, None);
        while self.peek() != Some(Token::Mark('{')) {
            let (line, directive) = (self.line(), self.word()?);
            let mut product = self.number()?;
            while self.take_if(',') {
                product = product.saturating_mul(self.number()?);
            }
            match directive {
                ".maxntid" | ".reqntid" => threads = Some(product),
                ".minnctapersm" => blocks = Some(product),
                ".maxnreg" => {}
                other => return Err(Error::unsupported(line, format!("directive {other}"))),
            }
        }
        Ok((threads, blocks))
    }

    /// `{ ... }`, with blocks in it.
    fn block(&mut self, body: &mut Body, params: &[Param]) -> Result<(), Error> {
        body.open(self.line())?;
        self.mark('{')?;
        while !self.take_if('}') {
            let line = self.line();
            match self.peek() {
                Some(Token::Mark('{')) => self.block(body, params)?,
                Some(Token::Mark('@')) => self.instruction(body, params)?,
                Some(Token::Mark(';')) => self.skip(1),
                Some(Token::Word(".reg")) => self.declare(body)?,
                Some(Token::Word(".loc")) => {
                    self.skip(1);
                    body.loc = (self.number()?, self.number()?);
                    self.number()?;
                }
                Some(Token::Word(".pragma")) => self.skip(3),
                Some(Token::Word(word)) if word.starts_with('.') => {
                    return Err(Error::unsupported(line, format!("directive {word}")));
                }
                Some(Token::Word(label))
                    if self.tokens.get(self.next + 1).map(|t| t.0) == Some(Token::Mark(':')) =>
                {
                    self.skip(2);
                    body.label(label, line)?;
                }
                _ => self.instruction(body, params)?,
            }
        }
        body.close();
        Ok(())
    }

    /// `.reg .b32 %r<10>;` or `.reg .pred a, b;`
    fn declare(&mut self, body: &mut Body) -> Result<(), Error> {
        self.skip(1);
        let (line, kind) = (self.line(), self.word()?);
        let class = match kind {
            ".pred" => Class::Pred,
            ".b16" | ".u16" | ".s16" | ".f16" => Class::B16,
            ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" => Class::B32,
            ".b64" | ".u64" | ".s64" => Class::B64,
            other => return Err(Error::unsupported(line, format!("registers of type {other}"))),
        };
        loop {
            let name = self.word()?;
            let mut range = None;
            if self.take_if('<') {
                range = Some(self.number()?);
                self.mark('>')?;
            }
            body.declare(class, name, range, line)?;
            if !self.take_if(',') {
                return self.mark(';');
            }
        }
    }

    fn instruction(&mut self, body: &mut Body, params: &[Param]) -> Result<(), Error> {
        let line = self.line();
        let mut guard = None;
        if self.take_if('@') {
            let negated = self.take_if('!');
            let name = self.word()?;
            match body.register(name) {
                Some(Register { class: Class::Pred, number }) => guard = Some(Guard { p: number, negated }),
                _ => return Err(Error::invalid(line, format_args!("{name} is no predicate"))),
            }
        }
        let opcode = self.word()?;
        if matches!(opcode, "bra" | "bra.uni") {
            body.branch(guard, self.word()?, line);
            return self.mark(';');
        }
        let mut operands = Vec::new();
        if !self.take_if(';') {
            loop {
                operands.push(self.operand(body)?);
                if self.take_if(';') {
                    break;
                }
                self.mark(',')?;
            }
        }
        let op = decode(&Statement { line, opcode, operands, params })?;
        body.push(guard, op, line);
        Ok(())
    }

    fn operand(&mut self, body: &Body) -> Result<Operand<'a>, Error> {
        let line = self.line();
        if self.take_if('{') {
            let mut items = vec![self.item(body)?];
            while self.take_if(',') {
                items.push(self.item(body)?);
            }
            self.mark('}')?;
            return Ok(Operand::Vector(items));
        }
        if self.take_if('[') {
            let base = Box::new(self.item(body)?);
            let mut offset = 0;
            if self.take_if('+') {
                match self.item(body)? {
                    Operand::Int(value) => offset = value,
                    _ => {
                        return Err(Error::invalid(line, "an address is a register or a name, plus a number"))
                    }
                }
            }
            self.mark(']')?;
            return Ok(Operand::Address(base, offset));
        }
        let item = self.item(body)?;
        if self.take_if('|') {
            return Ok(Operand::Pair(Box::new(item), Box::new(self.item(body)?)));
        }
        Ok(item)
    }

    /// A register, a number or a name.
    fn item(&mut self, body: &Body) -> Result<Operand<'a>, Error> {
        let (line, negative, negated) = (self.line(), self.take_if('-'), self.take_if('!'));
        let word = self.word()?;
        if negative {
            let value = integer(word).and_then(i64::checked_neg);
            return value
                .map(Operand::Int)
                .ok_or_else(|| Error::invalid(line, format_args!("the number -{word}")));
        }
        match body.register(word) {
            Some(register) if negated => Ok(Operand::Not(register)),
            Some(register) => Ok(Operand::Register(register)),
            None if self.shared.contains(&word) => Ok(Operand::Int(0)),
            None => {
                Operand::word(word).ok_or_else(|| Error::invalid(line, format_args!("the number {word}")))
            }
        }
    }
}
