/** Two overlapping circles: two people looking at one thing. */
export function Logo() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <circle cx="12" cy="16" r="8" fill="none" stroke="var(--accent)" stroke-width="2.6" />
      <circle cx="20" cy="16" r="8" fill="none" stroke="var(--text)" stroke-width="2.6" />
    </svg>
  );
}
