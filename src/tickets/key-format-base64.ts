/** Decodes base64 of RFC 4648 §4 in the one way to write it; `undefined` for all else, and for nothing. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  if (text !== '' && bytes.toString('base64') === text) return bytes;
  bytes.fill(0);
  return undefined;
}

/** How many bytes the base64 is of. */
export function base64Length(text: string): number | undefined {
  const bytes = decodeBase64(text);
  bytes?.fill(0);
  return bytes?.length;
}
