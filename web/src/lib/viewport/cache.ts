/** A least-recently-used store with a cap in bytes; `drop` frees what an entry holds (an ImageBitmap, say). */
export class ByteCache<T> {
  private entries = new Map<string, { value: T; size_bytes: number }>();
  private used_bytes = 0;

  constructor(
    readonly limit_bytes: number,
    private readonly drop: (value: T) => void = () => undefined,
  ) {}

  get(key: string): T | undefined {
    const entry = this.entries.get(key);
    if (!entry) return undefined;
    this.entries.delete(key);
    this.entries.set(key, entry);
    return entry.value;
  }

  has(key: string): boolean {
    return this.entries.has(key);
  }

  /** Keep a value; older ones go until the cap holds. The newest always stays, even alone above the cap. */
  set(key: string, value: T, size_bytes: number): void {
    this.delete(key);
    this.entries.set(key, { value, size_bytes });
    this.used_bytes += size_bytes;
    for (const old of this.entries.keys()) {
      if (this.used_bytes <= this.limit_bytes || old === key) break;
      this.delete(old);
    }
  }

  delete(key: string): void {
    const entry = this.entries.get(key);
    if (!entry) return;
    this.entries.delete(key);
    this.used_bytes -= entry.size_bytes;
    this.drop(entry.value);
  }

  clear(): void {
    for (const key of [...this.entries.keys()]) this.delete(key);
  }

  get size_bytes(): number {
    return this.used_bytes;
  }
}
