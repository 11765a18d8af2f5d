/** Split a `multipart/related` body into its parts' bytes (RFC 2387, PS3.18 8.7.3.1). Views, not copies. */
export interface Part {
  contentType: string;
  body: Uint8Array<ArrayBuffer>;
}

/** The boundary of a Content-Type header, or null when it is not multipart. */
export function boundaryOf(contentType: string): string | null {
  if (!/^multipart\//i.test(contentType)) return null;
  const match = /boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType);
  return match?.[1] ?? match?.[2] ?? null;
}

/** Read all parts. Throws a RangeError when the closing delimiter is missing (a cut body). */
export function parseMultipart(bytes: Uint8Array<ArrayBuffer>, boundary: string): Part[] {
  const delimiter = new TextEncoder().encode(`--${boundary}`);
  const parts: Part[] = [];
  let at = find(bytes, delimiter, 0);
  for (;;) {
    if (at < 0) throw new RangeError('multipart body ends without its closing delimiter');
    let start = at + delimiter.length;
    if (bytes[start] === 0x2d && bytes[start + 1] === 0x2d) return parts;
    const head = find(bytes, CRLF2, start);
    if (head < 0) throw new RangeError('multipart part without a header end');
    const headers = new TextDecoder('latin1').decode(bytes.subarray(start, head));
    start = head + CRLF2.length;
    const length = Number(/content-length:\s*(\d+)/i.exec(headers)?.[1] ?? Number.NaN);
    // A stated length saves the search and cannot be fooled by pixels that look like the delimiter.
    const next = find(bytes, delimiter, Number.isFinite(length) ? start + length : start);
    if (next < 0) throw new RangeError('multipart body ends without its closing delimiter');
    const contentType = /content-type:\s*([^\r\n]+)/i.exec(headers)?.[1]?.trim() ?? 'application/octet-stream';
    parts.push({ contentType, body: bytes.subarray(start, Number.isFinite(length) ? start + length : next - 2) });
    at = next;
  }
}

const CRLF2 = new Uint8Array([13, 10, 13, 10]);

function find(bytes: Uint8Array, needle: Uint8Array, from: number): number {
  const first = needle[0] ?? 0;
  for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1)) {
    let i = 1;
    while (i < needle.length && bytes[at + i] === needle[i]) i++;
    if (i === needle.length) return at;
  }
  return -1;
}
