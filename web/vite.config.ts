/**
 * The build of the web client. Components are written against the React API; one alias puts Preact under it
 * (drop the alias and add react + react-dom to go back). Asset names carry a hash, `index.html` does not.
 */
import { fileURLToPath, URL } from 'node:url';
import { defineConfig } from 'vitest/config';

const backend = process.env['CONSILIUM_BACKEND'] ?? 'http://127.0.0.1:8080';
const forwarded = ['/api', '/dicomweb', '/whip', '/whep', '/fhir', '/healthz', '/readyz'];

export default defineConfig({
  resolve: {
    alias: {
      'use-sync-external-store/shim/index.js': fileURLToPath(new URL('./src/lib/react.ts', import.meta.url)),
      'react/jsx-runtime': 'preact/jsx-runtime',
      react: fileURLToPath(new URL('./src/lib/react.ts', import.meta.url)),
      '@': fileURLToPath(new URL('./src', import.meta.url)),
    },
  },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    outDir: 'dist',
    manifest: 'manifest.json',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1200,
  },
  server: { proxy: Object.fromEntries(forwarded.map((path) => [path, { target: backend, ws: true }])) },
  preview: { proxy: Object.fromEntries(forwarded.map((path) => [path, { target: backend, ws: true }])) },
  test: {
    environment: 'happy-dom',
    include: ['tests/**/*.test.{ts,tsx}', 'src/**/*.test.{ts,tsx}'],
    server: { deps: { inline: ['wouter', '@preact/signals'] } },
  },
});
