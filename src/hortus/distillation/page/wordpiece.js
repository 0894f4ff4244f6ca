// BERT's tokenizer: cleaned, lower-cased words split at punctuation, then the longest known pieces first.
// Every piece keeps the place of its characters in the text, counted in code points as Python counts them.

const SPACE = /\s/u;
const CHINESE =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/u;

export class WordPiece {
  // words: token -> id; settings: removed and punctuation (characters), split_chinese, strip_accents,
  // lowercase, prefix, longest_word, cls, sep, unk (ids), max_length.
  constructor(words, settings) {
    this.words = new Map(Object.entries(words));
    Object.assign(this, settings, {
      removed: new Set(settings.removed),
      punctuation: new Set(settings.punctuation),
    });
  }

  // A text as ids, framed and cut.
  encode(text) {
    const ids = this.tokens(text).map(({ id }) => id);
    return [this.cls, ...ids.slice(0, this.max_length - 2), this.sep];
  }

  // A question with each stretch of its context that fits: [{ ids, spans }]; a span is null outside of it.
  windows(question, context) {
    const overlap = Math.min(128, Math.floor(this.max_length / 4));
    const asked = this.tokens(question).map(({ id }) => id);
    const read = this.tokens(context);
    const room = this.max_length - asked.length - 3;
    if (room <= overlap) throw new Error("the question is too long");
    const windows = [];
    for (let start = 0; start < Math.max(read.length - overlap, 1); start += room - overlap) {
      const part = read.slice(start, start + room);
      const ids = [this.cls, ...asked, this.sep, ...part.map(({ id }) => id), this.sep];
      const spans = [...Array(asked.length + 2).fill(null), ...part.map(({ span }) => span), null];
      windows.push({ ids, spans });
    }
    return windows;
  }

  // A text as [{ id, span: [start, end] }].
  tokens(text) {
    return this.split(text).flatMap((word) => this.pieces(word));
  }

  // A text as words; a word is a list of [character, place].
  split(text) {
    const words = [];
    let word = null;
    Array.from(text).forEach((original, place) => {
      for (const character of this.normalized(original)) {
        if (SPACE.test(character)) word = null;
        else if (this.punctuation.has(character)) {
          words.push([[character, place]]);
          word = null;
        } else {
          if (word === null) words.push((word = []));
          word.push([character, place]);
        }
      }
    });
    return words;
  }

  // What one character becomes: none, one or several. One by one, because no neighbour decides on it.
  normalized(character) {
    if (this.removed.has(character)) return "";
    let text = this.split_chinese && CHINESE.test(character) ? ` ${character} ` : character;
    if (this.strip_accents) text = text.normalize("NFD");
    const kept = Array.from(text).filter((one) => !this.removed.has(one));
    return (this.lowercase ? kept.map((one) => one.toLowerCase()) : kept).join("");
  }

  pieces(word) {
    const whole = (id) => [{ id, span: [word[0][1], word.at(-1)[1] + 1] }];
    if (word.length > this.longest_word) return whole(this.unk);
    const found = [];
    for (let start = 0; start < word.length; ) {
      let end = word.length;
      let id;
      for (; end > start; end--) {
        const piece = word.slice(start, end).map(([character]) => character);
        id = this.words.get((start ? this.prefix : "") + piece.join(""));
        if (id !== undefined) break;
      }
      if (end === start) return whole(this.unk);
      found.push({ id, span: [word[start][1], word[end - 1][1] + 1] });
      start = end;
    }
    return found;
  }
}
