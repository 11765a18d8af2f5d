/** A line icon of the room's own, drawn like the kit's. */
export function Glyph({ path }: { path: string }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}
