import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// One file of each kind, named by its content: the server lets browsers keep them for ever, and allows
// scripts and styles of its own origin only (no inlined assets).
export default defineConfig({
  base: "/",
  plugins: [svelte()],
  build: {
    outDir: "../src/hortus/studio/static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: {
        entryFileNames: "assets/studio-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
        inlineDynamicImports: true,
      },
    },
  },
});
