// BERT's tokenizer: cleaned, lower-cased words split at punctuation, then the longest known pieces first.

const SPACE = /\s/u;
const CONTROL = /[\p{Cc}\p{Cf}\p{Cn}\p{Co}]/u;
const PUNCTUATION = /[!-/:-@[-`{-~]|\p{P}/u;
const CHINESE =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/u;

export class WordPiece {
  // words: token -> id; settings: lowercase, cls, sep, unk (ids), max_length, prefix, longest_word.
  constructor(words, settings) {
    this.words = new Map(Object.entries(words));
    Object.assign(this, settings);
  }

  encode(text) {
    const ids = this.split(text).flatMap((word) => this.pieces(word));
    return [this.cls, ...ids.slice(0, this.max_length - 2), this.sep];
  }

  split(text) {
    let clean = "";
    for (const character of text) {
      if (SPACE.test(character)) clean += " ";
      else if (character === "\uFFFD" || CONTROL.test(character)) continue;
      else clean += CHINESE.test(character) ? ` ${character} ` : character;
    }
    if (this.lowercase) clean = clean.normalize("NFD").replace(/\p{Mn}/gu, "").toLowerCase();
    const words = [];
    for (const part of clean.split(" ")) {
      let word = "";
      for (const character of part) {
        if (!PUNCTUATION.test(character)) {
          word += character;
          continue;
        }
        if (word) words.push(word);
        words.push(character);
        word = "";
      }
      if (word) words.push(word);
    }
    return words;
  }

  pieces(word) {
    const characters = Array.from(word);
    if (characters.length > this.longest_word) return [this.unk];
    const ids = [];
    for (let start = 0; start < characters.length; ) {
      let end = characters.length;
      let id;
      for (; end > start; end--) {
        id = this.words.get((start ? this.prefix : "") + characters.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (end === start) return [this.unk];
      ids.push(id);
      start = end;
    }
    return ids;
  }
}
